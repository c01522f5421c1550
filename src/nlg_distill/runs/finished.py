"""Finished runs on disk, as `run.py` left them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nlg_distill.errors import UserError


@dataclass(frozen=True)
class FinishedRun:
    """One run's folder and what is in it.

    Args:
        folder: of the run, with `result.json`, `config.yaml` and `samples.jsonl`.
        result: all scores, seeds, versions and artifacts of the run.
    """

    folder: Path
    result: dict[str, Any]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        text = (self.folder / "config.yaml").read_text(encoding="utf-8")
        config: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
        return config

    @cached_property
    def samples(self) -> list[dict[str, str]]:
        """Source, gold, and what teacher and student wrote, if they did, for each test text."""
        text = (self.folder / "samples.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """What was logged in the training; nothing of a black box, or of a model that is gone."""
        from nlg_distill.curves import read_curves  # with Lightning, which a table does not need

        return read_curves(self.artifact("model")) if "model" in self.result["artifacts"] else []

    def artifact(self, role: str) -> Path:
        """Where a parent of its scores is, or was: `model`, `teacher`, `corpus`, `tokenizer`."""
        return Path(self.result["artifacts_root"], self.result["artifacts"][role])


def finished_runs(folder: Path) -> list[FinishedRun]:
    """Every finished run below a folder, oldest first, as the names of the folders sort.

    Raises:
        UserError: if there is none, or a `result.json` cannot be read.
    """
    if not folder.exists():
        raise UserError(f"there is no folder {folder}")
    runs = []
    for path in sorted(folder.rglob("result.json")):
        try:
            runs.append(FinishedRun(path.parent, json.loads(path.read_text(encoding="utf-8"))))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path} cannot be read ({error}): delete this file, and make the run again; what "
                f"it was made from is in the store"
            ) from error
    if not runs:
        raise UserError(f"there is no finished run below {folder}: a run leaves a result.json")
    return runs
