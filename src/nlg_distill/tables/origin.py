"""What a table was made with: the command, and the dates, seconds and versions of its artifacts."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_distill.runs.costs import work
from nlg_distill.store import metadata


@dataclass(frozen=True)
class Origin:
    """The command of a table, and of each artifact that it rests on what is known of it.

    Args:
        command: what makes the table again.
        facts: the metadata of each artifact, each once, whichever rows use it.
        seconds: what each took, of a training all attempts.
        num_missing: of how many others, since removed from the store, nothing is known.
    """

    command: str
    facts: Mapping[Path, Mapping[str, Any]]
    seconds: Mapping[Path, float]
    num_missing: int

    def markdown(self) -> list[str]:
        """The lines of a section."""
        return ["## How it was made", "", f"    {self.command}", "", *self._notes()]

    def _notes(self) -> list[str]:
        made = sorted(str(facts["made"]).removesuffix("+00:00") for facts in self.facts.values())
        by_stage: dict[str, float] = {}
        for path, spent in self.seconds.items():
            by_stage[path.parent.name] = by_stage.get(path.parent.name, 0.0) + spent
        parts = ", ".join(f"{stage} {spent:,.0f}" for stage, spent in by_stage.items())
        notes = [
            f"Finished between {made[0]} and {made[-1]} UTC.",
            f"{sum(self.seconds.values()):,.0f} s of work, each of {len(self.facts)} artifacts "
            f"once, whatever ran beside it: {parts}.",
        ]
        if self.num_missing:
            notes.append(f"Of {self.num_missing} more, removed since, nothing is known.")
        versions = [
            (
                f"Python {facts['python']}",
                *(f"{name} {version}" for name, version in facts["packages"].items()),
            )
            for facts in self.facts.values()
        ]
        notes += [f"{', '.join(names)}." for names in dict.fromkeys(versions)]
        for head, key in (("Commit", "git_commit"), ("Machine", "machine")):
            values = dict.fromkeys(str(facts[key]) for facts in self.facts.values())
            notes.append(f"{head}: {'; '.join(values)}.")
        return [f"- {note}" for note in notes]


def command_of(name: str, extra: Sequence[str], *, scale: str | None, seeds: int | None) -> str:
    """What makes a table; how many jobs ran at once changes no score."""
    options = [*(["--scale", scale] if scale else []), *(["--seeds", str(seeds)] if seeds else [])]
    return shlex.join(["nlg-distill", "reproduce", name, *options, *extra])


def origin_of(command: str, artifacts: Iterable[str]) -> Origin:
    """The origin of a table whose scores are `artifacts`."""
    seconds, missing = work(Path(artifact) for artifact in artifacts)
    return Origin(command, {path: metadata(path) for path in seconds}, seconds, len(missing))
