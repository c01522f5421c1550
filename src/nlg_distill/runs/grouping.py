"""Finished runs as rows: those that differ in nothing but the seed are one."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nlg_distill.runs.costs import teacher_work
from nlg_distill.runs.finished import FinishedRun, finished_runs
from nlg_distill.runs.settings import ABSENT, Settings, leaves, require_key, short_names

NO_MATTER = ("paths", "logger", "seed", "teacher_seed")  # a student's teacher_seed matters
OF_STUDENTS = ("student_model", "student_training", "loss", "init")  # no part of a teacher
TRAINER = ("precision", "devices", "accelerator")  # of the trainer, what changes a result or a cost
TEST_SET = "test set"


@dataclass(frozen=True)
class ComparedRun:
    """A finished run, and what it was made with."""

    run: FinishedRun

    @property
    def result(self) -> dict[str, Any]:
        """What `result.json` holds."""
        return self.run.result

    @cached_property
    def settings(self) -> Settings:
        """What it was made with, by dotted keys."""
        return Settings(self.result["name"], self.result["overrides"], self.run.config)

    @cached_property
    def test_set(self) -> str:
        """Hash of the texts that it was scored on, whatever their corpus was cut from."""
        texts = [[sample["source"], sample["gold"]] for sample in self.run.samples]
        return _hash(texts)

    @property
    def precision(self) -> str | None:
        """That it was scored with; None of a black box."""
        precision: str | None = self.result.get("decoding", {}).get("precision")
        return precision

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What `result.json` holds, and the costs of what it had from teachers, where known."""
        if self.teacher_work is None:
            return self.result
        seconds = sum(self.teacher_work.values())
        return {
            **self.result,
            "teacher_seconds": seconds,
            "seconds_with_teachers": seconds + self.result["total_training_seconds"],
        }

    @cached_property
    def teacher_work(self) -> dict[str, float] | None:
        """Seconds of each artifact that its teachers made.

        None where the store is gone, or of a black box.
        """
        has_model = "model" in self.result["artifacts"]
        return teacher_work(self.run.artifact("model")) if has_model else None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The settings that make a row, by their keys: all that a result or its cost depends on."""
        teaches = self.result["stage"] == "teacher"
        unused = {*NO_MATTER, *(OF_STUDENTS if teaches else ())}
        config = {k: v for k, v in self.run.config.items() if k not in unused}
        config["trainer"] = {k: v for k, v in config["trainer"].items() if k in TRAINER}
        if not teaches:
            config["teacher_seed"] = self.run.config["teacher_seed"]
        found = leaves(config)
        return {**found, TEST_SET: self.test_set, "corpus": self.result["artifacts"]["corpus"]}


@dataclass(frozen=True)
class Group:
    """A row: its name, and its runs."""

    label: str
    runs: Sequence[ComparedRun]

    @property
    def seeds(self) -> list[int]:
        """Of its runs, in order."""
        return [run.result["seed"] for run in self.runs]

    @property
    def is_teacher(self) -> bool:
        """Whether it is of teachers."""
        return bool(self.runs[0].result["stage"] == "teacher")

    def mixed(self) -> dict[str, list[str]]:
        """The settings in which its runs differ, with their values; none where it is of seeds."""
        differing = _differing([run.identity for run in self.runs])
        return {
            key: list(dict.fromkeys(str(run.identity.get(key, ABSENT)) for run in self.runs))
            for key in differing
        }


def compared_runs(folders: Sequence[Path]) -> tuple[list[ComparedRun], int]:
    """The finished runs below some folders, each once, and how often one was there again.

    Runs are the same if their scores are the same artifact. They stand as their folders sort,
    numbers by their size.
    """
    found = {run.folder.resolve(): run for folder in folders for run in finished_runs(folder)}
    once: dict[str, FinishedRun] = {}
    for path in sorted(found, key=_natural):
        once.setdefault(found[path].result["scores"], found[path])
    return [ComparedRun(run) for run in once.values()], len(found) - len(once)


def grouped(runs: Sequence[ComparedRun], keys: Sequence[str] = ()) -> list[Group]:
    """Rows, in the order of their first runs.

    Args:
        runs: each of another result.
        keys: what the runs of a row agree in; all but the seed if none are given. Runs that were
            scored on different texts, or with another precision, are never in one row.

    Raises:
        UserError: if no run has such a key.
    """
    for key in keys:
        require_key(key, [run.settings for run in runs])
    rows: dict[str, list[ComparedRun]] = {}
    for run in runs:
        agreed: Any = run.identity
        if keys:
            agreed = [[run.settings.value(key) for key in keys], run.test_set, run.precision]
        rows.setdefault(_hash(agreed), []).append(run)
    first = [members[0] for members in rows.values()]
    return [Group(*row) for row in zip(_labels(first, keys), rows.values(), strict=True)]


def _labels(rows: Sequence[ComparedRun], keys: Sequence[str]) -> list[str]:
    """The shortest names that tell rows apart: of the keys, and of what else differs."""
    settings = [row.settings for row in rows]
    names = short_names([key for key in keys if key != "experiment"], settings)
    bases = []
    for row in rows:
        parts = [f"{names[k]}={row.settings.text(k)}" for k in keys if k != "experiment"]
        own = row.settings.text("experiment") if "experiment" in keys else row.result["name"]
        bases.append(", ".join([own, *parts] if "experiment" in keys or not keys else parts))
    labels = list(bases)
    for base in dict.fromkeys(bases):
        alike = [i for i, other in enumerate(bases) if other == base]
        for i, more in zip(alike, _told_apart([rows[i] for i in alike]), strict=True):
            only = len(alike) == len(rows) and more and not keys  # all of one name
            labels[i] = more if only else ", ".join(filter(None, [base, more]))
    return labels


def _told_apart(rows: Sequence[ComparedRun]) -> list[str]:
    """For each row what it was given and differs in from the others; else the fewest settings."""
    if len(rows) == 1:
        return [""]
    given = [k for row in rows for k in row.settings.given if _may_matter(k)]
    candidates = dict.fromkeys([*given, *_differing([row.identity for row in rows])])
    texts = [{key: _text(row, key) for key in candidates} for row in rows]
    needed = [key for key in candidates if len({text[key] for text in texts}) > 1]
    for key in reversed([key for key in needed if key not in given]):
        rest = [other for other in needed if other != key]
        if len({tuple(text[k] for k in rest) for text in texts}) == len(rows):
            needed = rest
    names = short_names(needed, [row.settings for row in rows])
    return [
        ", ".join(f"{names[k]}={text[k]}" for k in needed if text[k] != ABSENT) for text in texts
    ]


def _text(row: ComparedRun, key: str) -> str:
    place = key.split("@")[-1].split(".")[0]
    if row.result["stage"] == "teacher" and place in OF_STUDENTS:
        return ABSENT
    if row.settings.has(key):
        return row.settings.text(key)
    return str(row.identity.get(key, ABSENT))


def _may_matter(key: str) -> bool:
    root, _, rest = key.partition(".")
    if root == "trainer" and rest:
        return rest in TRAINER
    return root not in (*NO_MATTER, "name", "experiment", "sweep")


def _differing(identities: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which settings differ, one that some lack among them."""
    keys = dict.fromkeys(key for identity in identities for key in identity)
    return [k for k in keys if len({_hash(i.get(k, ABSENT)) for i in identities}) > 1]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    pieces = re.split(r"(\d+)", str(path))
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in pieces]


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
