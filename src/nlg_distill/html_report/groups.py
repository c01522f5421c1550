"""Runs that differ in nothing but their seed, and what tells one such group from another."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nlg_distill.finished import FinishedRun

NO_PART_IN_RESULTS = ("paths", "logger")
OF_STUDENTS = ("student_model", "student_training", "loss", "init", "seed", "teacher_seed")
SAYS_LITTLE = ("seed", "teacher_seed", "experiment", "logger", "name")


def grouped(runs: Sequence[FinishedRun]) -> list[list[int]]:
    """The numbers of the runs that belong together, teachers first, else in the order of runs."""
    members: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        members.setdefault(group_key(run), []).append(number)
    return sorted(members.values(), key=lambda group: runs[group[0]].result["stage"] != "teacher")


def group_key(run: FinishedRun) -> str:
    """The same for two runs whose configs agree in all but the seed.

    A teacher's seed is `teacher_seed`, and what a config says of students is no part of it.
    """
    teaches = run.result["stage"] == "teacher"
    unused = {*NO_PART_IN_RESULTS, *(OF_STUDENTS if teaches else ("seed",))}
    config = {name: value for name, value in run.config.items() if name not in unused}
    return json.dumps([run.result["stage"], config], sort_keys=True, default=str)


def labels(runs: Iterable[FinishedRun]) -> list[str]:
    """A short name for each group, of which `runs` are one member each; no two are the same.

    A run's name, and of its overrides those that others lack: choices of a group of configs, and
    single settings as far as they are needed to tell one from another.
    """
    names, given = [], []
    for run in runs:
        names.append(str(run.result["name"]))
        given.append([o for o in run.result["overrides"] if not _says_little(o)])
    shared = set(given[0]).intersection(*given) if given else set()
    own = [[o for o in overrides if o not in shared] for overrides in given]
    found: list[str] = []
    for number, name in enumerate(names):
        others = [set(own[i]) for i, other in enumerate(names) if i != number and other == name]
        label = " ".join([name, *_telling(own[number], others)])
        same = sum(earlier == label or earlier.startswith(f"{label} (") for earlier in found)
        found.append(f"{label} ({same + 1})" if same else label)
    return found


def _telling(own: Sequence[str], others: Sequence[set[str]]) -> list[str]:
    """`own` without the single settings that tell it from none of `others`."""
    kept = list(own)
    for override in reversed(own):
        fewer = [o for o in kept if o != override]
        if "." in _key(override) and _alike(fewer, others) == _alike(kept, others):
            kept = fewer
    return kept


def _alike(overrides: Sequence[str], others: Sequence[set[str]]) -> int:
    return sum(set(overrides) <= other for other in others)


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _says_little(override: str) -> bool:
    key = _key(override)
    return key in SAYS_LITTLE or key.startswith("paths.")


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; a list is one value, and so is an empty dictionary."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
