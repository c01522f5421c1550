"""Works off what is missing of several runs, several jobs at a time."""

import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress, TaskID

from nlg_distill.config import compose
from nlg_distill.errors import UserError, described
from nlg_distill.progress import PROGRESS_FILE_VARIABLE, progress_columns
from nlg_distill.stages.plan import Plan
from nlg_distill.store import Stage, Store
from nlg_distill.tables.processes import Processes


@dataclass(frozen=True)
class PlannedRun:
    """A run of a table's row before it is made.

    Args:
        label: what it is, for people; no two runs that are made together share it.
        row: the row that it belongs to.
        overrides: what it is made with.
        cfg: the config that they make up.
        stages: what it consists of.
    """

    label: str
    row: str
    overrides: tuple[str, ...]
    cfg: DictConfig
    stages: Plan


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker: a run, or a stage that runs share.

    Args:
        label: what it is, for people.
        overrides: the config whose stages it belongs to.
        stage_key: the stage to make; None makes the whole run.
        threads: cores it keeps busy.
        provides: keys of the artifacts that are there when it is done.
        needs: keys of artifacts that other jobs provide.
        folder: of its run, and with `.log` its log; no two jobs share it.
    """

    label: str
    overrides: tuple[str, ...]
    stage_key: str | None
    threads: int
    provides: frozenset[str]
    needs: frozenset[str]
    folder: str = ""


def jobs_of(store: Store, runs: Sequence[PlannedRun], kept: Set[str]) -> list[Job]:
    """Shared stages first, then runs; what is in the store is made by no job.

    Args:
        store: of the artifacts.
        runs: what there is to be.
        kept: scores that a run's folder is there of, as `stage/key`. Others that are in the store,
            because another table made them, are a job all the same: of seconds, for the folder.
    """
    missing = [run for run in runs if not store.has(run.stages.scores)]
    found = [run for run in runs if store.has(run.stages.scores)]
    unkept = [r for r in found if f"{r.stages.scores.name}/{r.stages.scores.key}" not in kept]
    whole = (_whole(store, run) for run in [*missing, *unkept])
    return _with_folders([*_shared(store, missing), *whole])


def _with_folders(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, each with a folder that its label names."""
    found: dict[str, Job] = {}
    for job in jobs:
        name = "_".join(job.label.lower().translate(str.maketrans("+,-/", "  __")).split())
        while name in found:
            name += "_again"
        found[name] = replace(job, folder=name)
    return list(found.values())


def _shared(store: Store, runs: Sequence[PlannedRun]) -> Iterator[Job]:
    """The stages that no run is for, each once, under a label of its own."""
    seen = {run.stages.subject.key for run in runs}
    labels: set[str] = set()
    for run in runs:
        for stage in run.stages.scores.ancestry():
            if stage.key in seen or stage.name == "scores" or store.has(stage):
                continue
            seen.add(stage.key)
            label = stage.name.replace("_", " ")
            label = f"{label} {stage.key}" if label in labels else label
            labels.add(label)
            yield Job(
                label=label,
                overrides=run.overrides,
                stage_key=stage.key,
                threads=_threads(stage),
                provides=frozenset({stage.key}),
                needs=frozenset(p.key for p in stage.parents.values() if not store.has(p)),
            )


def _whole(store: Store, run: PlannedRun) -> Job:
    above = {stage.key for stage in run.stages.scores.ancestry() if not store.has(stage)}
    own = {run.stages.subject.key, run.stages.scores.key}
    return Job(
        label=run.label,
        overrides=run.overrides,
        stage_key=None,
        threads=_threads(run.stages.subject),
        provides=frozenset(own),
        needs=frozenset(above - own),
    )


def _threads(stage: Stage) -> int:
    threads: int = stage.config.get("training", stage.config).get("threads", 1)
    return threads


def work_off(
    todo: list[Job], folder: Path, cores: int, console: Console, done: Callable[[Job], None]
) -> None:
    """Starts each job when what it needs is there and its threads are free.

    A job that fails stops no other; what needs it is not made.

    Args:
        todo: the jobs.
        folder: of their logs and runs.
        cores: how many to keep busy.
        console: where their progress is shown.
        done: told of each job at its end.

    Raises:
        UserError: at the end, if a job failed.
    """
    pending = {key for job in todo for key in job.provides}
    running: dict[Future[None], Job] = {}
    failed: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as status,
        Processes() as processes,
        Progress(*progress_columns(), console=console) as drawing,
    ):
        bars: dict[str, TaskID] = {}
        while True:
            for job in _startable(todo, running, pending, cores):
                todo.remove(job)
                file = Path(status) / f"{len(bars)}.json"
                bars[job.label] = drawing.add_task(job.label, total=None)
                running[processes.submit(_attempt, job, folder, str(file))] = job
            if not running:
                break
            finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            _draw(drawing, bars, Path(status))
            for future in finished:
                job = running.pop(future)
                drawing.remove_task(bars[job.label])
                if error := processes.error(future):
                    failed[job.label] = f"{error}. Its log is {_log(folder, job)}"
                    console.print(f"{job.label} failed", style="red", highlight=False)
                else:
                    pending -= job.provides
                    done(job)
    assert failed or not todo, "no job can start"
    if failed:
        raise UserError(_what_failed(failed, [job.label for job in todo]))


def _startable(
    todo: Sequence[Job], running: Mapping[Future[None], Job], pending: set[str], cores: int
) -> list[Job]:
    """The jobs to start now: of more threads than there are cores, one when nothing else runs."""
    free = cores - sum(job.threads for job in running.values())
    chosen: list[Job] = []
    for job in todo:
        fits = job.threads <= free or not (running or chosen)
        if fits and not (job.needs & pending):
            chosen.append(job)
            free -= job.threads
    return chosen


def _what_failed(failed: Mapping[str, str], not_made: Sequence[str]) -> str:
    lines = [f"{len(failed)} failed, and no table was written:"]
    lines += [f"  {label}: {error}" for label, error in failed.items()]
    if not_made:
        lines.append(f"Not made, because they need what failed: {'; '.join(not_made)}.")
    lines.append("What else there was to do is done, and will be found when this is started again.")
    return "\n".join(lines)


def _attempt(job: Job, folder: Path, status: str) -> None:
    """A worker's job; its failure goes to the log, and to the parent as one that can be sent."""
    try:
        _work(job, folder, status)
    except Exception as error:
        with _log(folder, job).open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        if isinstance(error, UserError):
            raise
        raise RuntimeError(described(error)) from None


def _work(job: Job, folder: Path, status: str) -> None:
    """What a worker does for one job; everything it prints goes to a log."""
    os.environ[PROGRESS_FILE_VARIABLE] = status
    with (
        _log(folder, job).open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        from nlg_distill.run import make_stage, run

        begin = time.monotonic()
        cfg = compose(job.overrides)
        table, own = folder.parent.name, folder / job.folder
        if job.stage_key is None:
            run(cfg, job.overrides, own, table)
        else:
            make_stage(cfg, job.overrides, own, job.stage_key, table)
        print(f"{job.label}: {time.monotonic() - begin:.1f} s")


def _draw(drawing: Progress, bars: dict[str, TaskID], status: Path) -> None:
    for number, (label, task) in enumerate(bars.items()):
        file = status / f"{number}.json"
        if file.is_file() and task in drawing.task_ids:
            at = json.loads(file.read_text())
            drawing.update(
                task,
                description=f"{label}: {at['text']}",
                completed=at["completed"],
                total=at["total"],
            )


def _log(folder: Path, job: Job) -> Path:
    return folder / f"{job.folder}.log"
