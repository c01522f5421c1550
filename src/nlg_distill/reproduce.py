"""Runs what is missing of a table, several rows at a time, and writes the table."""

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from nlg_distill.config import CONF, check, compose
from nlg_distill.errors import UserError
from nlg_distill.progress import PROGRESS_FILE_VARIABLE, progress_columns
from nlg_distill.rehearsal import rehearse
from nlg_distill.stages.plan import Plan, plan
from nlg_distill.store import Stage, Store, metadata
from nlg_distill.tables import Table, TableSpec, load_result, load_spec

console = Console()


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker: a row, or a stage that rows share.

    Args:
        label: what it is, for people.
        overrides: the config whose stages it belongs to.
        stage_key: the stage to make; None makes the whole row.
        threads: cores it keeps busy.
        provides: keys of the artifacts that are there when it is done.
        needs: keys of artifacts that other jobs provide.
    """

    label: str
    overrides: tuple[str, ...]
    stage_key: str | None
    threads: int
    provides: frozenset[str]
    needs: frozenset[str]


def reproduce(name: str, extra: Sequence[str] = (), jobs: int | None = None) -> Table:
    """Makes the table `conf/table/<name>.yaml` and writes it to `tables/<name>/`.

    Args:
        name: the table's file, without its ending.
        extra: overrides for all rows.
        jobs: cores to use; all of them if not given.

    Raises:
        UserError: if the table or an override is wrong, or a row failed.
    """
    spec = load_spec(CONF / "table" / f"{name}.yaml")
    overrides = {row.row: _row_overrides(spec, row.row, extra) for row in spec.rows}
    configs = {row: compose(o) for row, o in overrides.items()}
    for row, cfg in configs.items():
        check(cfg)
        rehearse(cfg)
        if not {1, 5} <= set(cfg.scoring.beam_sizes):
            raise UserError(
                f"{row}: a table needs beam sizes 1 and 5, not {cfg.scoring.beam_sizes}"
            )
    plans = {row: plan(cfg, overrides[row]) for row, cfg in configs.items()}
    store = Store(Path(next(iter(configs.values())).paths.artifacts))
    table = Table(spec)
    missing = [row for row, stages in plans.items() if not store.has(stages.scores)]
    todo = list(_jobs(store, {row: plans[row] for row in missing}, overrides, configs))
    folder = Path("runs") / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if todo:
        _work_off(todo, folder, jobs or os.cpu_count() or 1, store, plans, table)
    for row, stages in plans.items():
        _add(table, row, stages, store)
    table.results = {row: table.results[row] for row in plans}
    table.write(Path("tables") / name)
    return table


def _row_overrides(spec: TableSpec, name: str, extra: Sequence[str]) -> tuple[str, ...]:
    row = next(row for row in spec.rows if row.row == name)
    return (*spec.overrides, f"experiment={row.experiment}", *row.overrides, *extra)


def _jobs(
    store: Store,
    plans: dict[str, Plan],
    overrides: dict[str, tuple[str, ...]],
    configs: dict[str, Any],
) -> Iterator[Job]:
    """Shared stages first, then rows; what is in the store is no job."""
    subjects = {stages.subject.key for stages in plans.values()}
    seen: set[str] = set()
    for row, stages in plans.items():
        for stage in stages.scores.ancestry():
            if stage.key in seen | subjects or stage.name == "scores" or store.has(stage):
                continue
            seen.add(stage.key)
            yield Job(
                label=stage.name.replace("_", " "),
                overrides=overrides[row],
                stage_key=stage.key,
                threads=_threads(stage),
                provides=frozenset({stage.key}),
                needs=frozenset(p.key for p in stage.parents.values() if not store.has(p)),
            )
    for row, stages in plans.items():
        above = {stage.key for stage in stages.scores.ancestry() if not store.has(stage)}
        own = {stages.subject.key, stages.scores.key}
        yield Job(
            label=row,
            overrides=overrides[row],
            stage_key=None,
            threads=_threads(stages.subject),
            provides=frozenset(own),
            needs=frozenset(above - own),
        )


def _threads(stage: Stage) -> int:
    threads: int = stage.config.get("training", stage.config).get("threads", 1)
    return threads


def _work_off(
    todo: list[Job],
    folder: Path,
    cores: int,
    store: Store,
    plans: dict[str, Plan],
    table: Table,
) -> None:
    """Starts each job when what it needs is there and its threads are free."""
    context = multiprocessing.get_context("spawn")
    pending = {key for job in todo for key in job.provides}
    running: dict[Future[None], Job] = {}
    folder.mkdir(parents=True)
    with (
        tempfile.TemporaryDirectory() as status,
        ProcessPoolExecutor(cores, mp_context=context) as pool,
        Progress(*progress_columns(), console=console) as drawing,
    ):
        bars: dict[str, TaskID] = {}
        while todo or running:
            free = cores - sum(job.threads for job in running.values())
            for job in list(todo):
                fits = job.threads <= free or not running
                if fits and not (job.needs & pending):
                    todo.remove(job)
                    free -= job.threads
                    file = Path(status) / f"{len(bars)}.json"
                    bars[job.label] = drawing.add_task(job.label, total=None)
                    running[pool.submit(_work, job, folder, str(file))] = job
            assert running, "no job can start"
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            _draw(drawing, bars, Path(status))
            for future in done:
                job = running.pop(future)
                drawing.remove_task(bars[job.label])
                if error := future.exception():
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise UserError(
                        f"{job.label} failed: {error}. Its log is {_log(folder, job)}"
                    ) from error
                pending -= job.provides
                if job.stage_key is None:
                    _add(table, job.label, plans[job.label], store)
                    _print_row(table, job.label)


def _work(job: Job, folder: Path, status: str) -> None:
    """What a worker does for one job; everything it prints goes to a log."""
    os.environ[PROGRESS_FILE_VARIABLE] = status
    with (
        _log(folder, job).open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        from nlg_distill.run import open_session, run

        begin = time.monotonic()
        cfg = compose(job.overrides)
        if job.stage_key is None:
            run(cfg, job.overrides, folder / _slug(job.label))
        else:
            stages = plan(cfg, job.overrides).scores.ancestry()
            stage = next(stage for stage in stages if stage.key == job.stage_key)
            Store(Path(cfg.paths.artifacts)).get(
                stage, open_session(cfg, folder / _slug(job.label), stage)
            )
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


def _add(table: Table, row: str, stages: Plan, store: Store) -> None:
    scores = store.path(stages.scores)
    kind = "teacher" if stages.subject.name == "teacher" else "student"
    machine = metadata(scores)["machine"]
    table.results[row] = {"stage": kind, "machine": machine, **load_result(scores)}
    table.runs[row] = str(scores)


def _print_row(table: Table, row: str) -> None:
    result = table.results[row]
    console.print(
        f"{row}: BLEU {result['beam_1']['bleu']:.1f} (K=1), {result['beam_5']['bleu']:.1f} (K=5), "
        f"PPL {result['perplexity']:.1f}, trained {result['training_seconds']:.0f} s",
        highlight=False,
    )


def _slug(label: str) -> str:
    return "_".join(label.lower().replace("+", " ").replace("-", "_").split())


def _log(folder: Path, job: Job) -> Path:
    return folder / f"{_slug(job.label)}.log"
