"""Whether the code that a config names is still that which a result was made with."""

import hashlib
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object

INSTALLED = Path(sysconfig.get_path("purelib"))


def code_of(config: Any) -> dict[str, str]:
    """By each `_target_`, the hash of the file that defines it; none of installed packages.

    What that file imports is not looked at.
    """
    found = {}
    for target in sorted(set(_targets(config))):
        file = inspect.getsourcefile(inspect.unwrap(get_object(target)))
        if file is not None and INSTALLED not in Path(file).parents:
            found[target] = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return found


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "_target_" in config:
            yield config["_target_"]
        for value in config.values():
            yield from _targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from _targets(value)
