"""What the stages of one run share and what no result depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Session:
    """Where things are kept, where training runs and who is told about it.

    Args:
        downloads: folder of fetched packages.
        trainer: config of the Lightning Trainer.
        logger: a Lightning logger, or None.
    """

    downloads: Path
    trainer: Mapping[str, Any]
    logger: Any = None
