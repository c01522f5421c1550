"""The curves of a training, kept beside its model whatever other logger there is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

FILENAME = "curves.jsonl"


class CurvesLogger(Logger):
    """One line of JSON for whatever is logged at once: `step`, and values by their names.

    A training that goes on replaces what a killed attempt logged after the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is the artifact that the training makes."""
        super().__init__()
        self.path = folder / FILENAME
        self._begun = False

    @property
    def name(self) -> str:
        return "curves"

    @property
    def version(self) -> str:
        return self.path.parent.name

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The artifact has its config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning says at which step"
        if not self._begun:
            self._begun = True
            earlier = [line for line in read_curves(self.path.parent) if line["step"] < step]
            self.path.write_text("".join(map(_line, earlier)), encoding="utf-8")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(line_of(metrics, step)))


def line_of(metrics: Mapping[str, float], step: int) -> dict[str, Any]:
    """What is logged at once, with its step; epochs of a training say nothing here."""
    return {"step": step} | {name: value for name, value in metrics.items() if name != "epoch"}


def read_curves(artifact: Path) -> list[dict[str, Any]]:
    """What was logged in the training of a model, in order; nothing where nothing was kept.

    A line that a kill cut short is left out.
    """
    path = artifact / FILENAME
    lines = path.read_text(encoding="utf-8").splitlines(True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values) + "\n"
