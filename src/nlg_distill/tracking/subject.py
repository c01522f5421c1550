"""What a logger is opened for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The making of one artifact, as a logger is told of it.

    Args:
        folder: where a logger may write; no other subject has it.
        run_folder: that of the whole run, with `config.yaml` and `result.json`.
        stage: the stage's name, such as `student`.
        artifact: the folder of the artifact: `<key>.partial` while it is made.
        title: what it is, for people.
        tags: what it can be found by.
        group: what it belongs to: a table, a sweep or an experiment.
        config: the resolved config of the whole run.
    """

    folder: Path
    run_folder: Path
    stage: str
    artifact: Path
    title: str
    tags: Sequence[str]
    group: str
    config: Mapping[str, Any]
