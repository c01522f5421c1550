"""Runs in a terminal: finished ones, those that go on, and those that ended without a result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from nlg_distill.comparing.comparison import (
    better,
    column_of,
    main_metric,
    metrics_of,
    require_metric,
)
from nlg_distill.errors import UserError
from nlg_distill.runs.finished import FinishedRun, finished_runs
from nlg_distill.runs.grouping import ComparedRun
from nlg_distill.runs.settings import Settings, require_key, short_names
from nlg_distill.runs.state import FILENAME, STATUSES, RunState, read_state
from nlg_distill.tables.parts import SECONDS, known, lookup


@dataclass(frozen=True)
class ListedRun:
    """A run, finished or not.

    Args:
        folder: of the run.
        state: how it goes; None of a run that was made before states were kept.
        finished: its result, if it has one.
    """

    folder: Path
    state: RunState | None
    finished: ComparedRun | None

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        return "finished" if self.state is None else self.state.status

    @cached_property
    def settings(self) -> Settings:
        """What it was made with."""
        path, config = self.folder / "config.yaml", {}
        if path.is_file():  # of a run whose config was refused there is none
            config = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        overrides = self.state.overrides if self.state else self._result["overrides"]
        return Settings(self.name, overrides, config)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.state.name if self.state else str(self._result["name"])

    @property
    def seed(self) -> str:
        """The seed of the model that it trains."""
        stage = self.settings.config.get("stage")
        return self.settings.text("teacher_seed" if stage == "teacher" else "seed")

    @property
    def began(self) -> datetime:
        """When; of a run without a state, when it ended."""
        if self.state:
            return self.state.began
        return datetime.fromtimestamp((self.folder / "result.json").stat().st_mtime, UTC)

    @property
    def _result(self) -> dict[str, Any]:
        assert self.finished is not None, "a run has a state or a result"
        return self.finished.result


def listed_runs(folder: Path) -> list[ListedRun]:
    """Every run below a folder, newest first.

    Raises:
        UserError: if there is none.
    """
    found = {path.parent: read_state(path.parent) for path in folder.rglob(FILENAME)}
    done: dict[Path, FinishedRun] = {}
    if any(folder.rglob("result.json")):
        done = {run.folder: run for run in finished_runs(folder)}
    if not found and not done:
        raise UserError(f"there is no run below {folder}")
    runs = [
        ListedRun(path, found.get(path), ComparedRun(done[path]) if path in done else None)
        for path in found.keys() | done.keys()
    ]
    return sorted(runs, key=lambda run: (run.began, str(run.folder)), reverse=True)


def unfinished(folders: Sequence[Path]) -> Counter[str]:
    """How many runs below some folders have no result, by their status."""
    paths = {path.parent for folder in folders for path in folder.rglob(FILENAME)}
    states = [read_state(path) for path in paths if not (path / "result.json").is_file()]
    return Counter(state.status for state in states if state is not None)


def chosen_runs(
    runs: Sequence[ListedRun],
    *,
    where: Sequence[str] = (),
    status: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> list[ListedRun]:
    """Those of the runs that someone wants to see, in that order.

    Args:
        runs: newest first.
        where: settings as `KEY=VALUE`, all of which they have.
        status: that they have.
        sort: metric by which they stand, the best first; runs without it come last.
        limit: how many, at most.

    Raises:
        UserError: if a status, a setting or a metric does not exist.
    """
    if status is not None and status not in STATUSES:
        raise UserError(f"there is no status {status!r}: there are {', '.join(STATUSES)}")
    chosen = [run for run in runs if status in (None, run.status)]
    for condition in where:
        key, separator, value = condition.partition("=")
        if not separator:
            raise UserError(f"--where takes KEY=VALUE, got {condition!r}")
        require_key(key, [run.settings for run in runs])
        chosen = [r for r in chosen if r.settings.has(key) and r.settings.is_(key, value)]
    if sort is not None:
        chosen = _sorted(chosen, runs, sort)
    return chosen[:limit]


def _sorted(chosen: Sequence[ListedRun], runs: Sequence[ListedRun], metric: str) -> list[ListedRun]:
    finished = [run.finished for run in runs if run.finished]
    require_metric(metric, metrics_of(finished))
    direction = better(metric, finished)
    if direction is None:
        raise UserError(
            f"whether {metric} is better at its least or its largest is not known: sort by "
            f"another, such as perplexity"
        )
    sign = -1 if direction == "max" else 1
    having = [r for r in chosen if r.finished and known(r.finished.metrics, metric)]
    having.sort(key=lambda r: sign * lookup(r.finished.metrics, metric))  # type: ignore[union-attr]
    return [*having, *(run for run in chosen if run not in having)]


def show_runs(runs: Sequence[ListedRun], among: int, metric: str | None = None) -> None:
    """One line per run, and below them what failed, and what cannot be known.

    Args:
        runs: in the order in which they are shown.
        among: how many runs there are in all.
        metric: the score that is shown; each run's main one if none is given.
    """
    console = Console(markup=False)
    if not console.is_terminal:  # no line is cut where it goes into a file
        console = Console(width=10_000, markup=False)
    overrides, shared = _overrides(runs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("when", no_wrap=True)
    table.add_column("name", no_wrap=True)
    table.add_column("seed", justify="right")
    table.add_column("status", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("s trained", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    table.add_column("overrides")
    for run, own in zip(runs, overrides, strict=True):
        table.add_row(*_line(run, own, metric))
    console.print(table)
    console.print(f"{len(runs)} of {among} runs", highlight=False)
    if shared:
        console.print(f"all with {shared}", highlight=False, soft_wrap=True)
    told: dict[str, list[Path]] = {}
    for run in runs:
        for text in filter(None, (run.state and run.state.error, run.state and run.state.doubt)):
            told.setdefault(f"{run.status}: {text}", []).append(run.folder)
    for text, folders in told.items():
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        console.print(f"{folders[0]}{more}: {text}", highlight=False, soft_wrap=True)


def _line(run: ListedRun, overrides: str, metric: str | None) -> list[str]:
    when = run.began.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    status = run.status + ("?" if run.state and run.state.doubt else "")
    if run.state and run.status != "finished":
        status += f" {'for' if run.status == 'running' else 'after'} {_clock(run.state.seconds)}"
    score = seconds = ""
    if run.finished and run.status == "finished":
        metrics = run.finished.metrics
        shown = metric or main_metric(run.finished)
        if known(metrics, shown):
            column = column_of(shown)
            score = f"{column.head} {lookup(metrics, shown):{column.form}}"
        seconds = f"{metrics[SECONDS]:,.0f}"
    return [when, run.name, run.seed, status, score, seconds, str(run.folder), overrides]


def _overrides(runs: Sequence[ListedRun]) -> tuple[list[str], str]:
    """What each run was given, and what all of them were."""
    given = [_told(run.settings) for run in runs]
    first = list(given[0].items()) if len(given) > 1 else []
    shared = [pair for pair in first if all(pair in one.items() for one in given)]
    keys = list(dict.fromkeys(key for own in given for key in own))
    names = short_names(keys, [run.settings for run in runs])
    own = [{k: v for k, v in one.items() if (k, v) not in shared} for one in given]
    return [_written(one, names) for one in own], _written(dict(shared), names)


def _written(overrides: Mapping[str, str], names: Mapping[str, str]) -> str:
    return " ".join(f"{names[key]}={value}" for key, value in overrides.items())


def _told(settings: Settings) -> dict[str, str]:
    """Overrides that have no column of their own."""
    return {k: v for k, v in settings.given.items() if k not in ("experiment", "seed", "name")}


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
