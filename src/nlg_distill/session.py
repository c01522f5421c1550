"""What the stages of one run share and what no result depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nlg_distill.store import Stage


@dataclass
class Session:
    """Where things are kept, where training runs and who is told about it.

    Args:
        downloads: folder of fetched packages.
        trainer: config of the Lightning Trainer.
        open_logger: a logger for the training that makes an artifact in this folder, or None.
        made: told of each stage whose artifact was made now.
    """

    downloads: Path
    trainer: Mapping[str, Any]
    open_logger: Callable[[Path], Any]
    made: Callable[[Stage], None] = lambda stage: None
    loggers: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where models run outside a trainer."""
        import lightning as L

        device: torch.device = L.Fabric(accelerator=self.trainer["accelerator"], devices=1).device
        return device

    @property
    def strategy(self) -> str:
        """Lightning's strategy: several devices are processes of the training alone.

        With the usual `ddp`, each process would go through all stages of the run.
        """
        return "auto" if self.trainer["devices"] == 1 else "ddp_spawn"

    def loggers_of(self, out: Path) -> list[Any]:
        """The logger of the training that makes an artifact in `out`, if there is one."""
        key = out.stem
        self.loggers[key] = self.open_logger(out)
        return [self.loggers[key]] if self.loggers[key] else []
