"""Runs what is missing of a table, and writes the table."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hydra.utils import instantiate
from rich.console import Console

from nlg_distill.config import CONF, check, compose
from nlg_distill.environment import FACTS
from nlg_distill.errors import UserError
from nlg_distill.rehearsal import rehearse
from nlg_distill.runs.costs import teacher_work
from nlg_distill.runs.finished import finished_runs
from nlg_distill.stages.plan import plan
from nlg_distill.stages.scores import DRAWN, result_paths
from nlg_distill.store import Store, metadata
from nlg_distill.tables.origin import command_of, origin_of
from nlg_distill.tables.parts import Part, Run, known, lookup
from nlg_distill.tables.significance import compare_rows
from nlg_distill.tables.spec import Row, TableSpec, load_spec
from nlg_distill.tables.table import Table
from nlg_distill.tables.workers import Job, PlannedRun, jobs_of, work_off
from nlg_distill.tasks import Task
from nlg_distill.tracking.wandb_table import log_table

console = Console(markup=False)


def reproduce(
    name: str,
    extra: Sequence[str] = (),
    jobs: int | None = None,
    *,
    scale: str | None = None,
    seeds: int | None = None,
) -> Table:
    """Makes the table `conf/table/<name>.yaml` and writes it to `tables/<name>/`.

    Args:
        name: the table's file, without its ending.
        extra: overrides for all rows.
        jobs: cores to use; all of them if not given.
        scale: `cpu` or `paper`, of a table that has both; `cpu` if not given.
        seeds: the first so many of the table's seeds, counted on if it has fewer.

    Raises:
        UserError: if the table or an override is wrong, or a row failed.
    """
    spec = load_spec(CONF / "table" / f"{name}.yaml", scale, seeds)
    planned = [run for row in spec.rows for run in _plan_row(spec, row, extra)]
    if spec.equal_seconds:
        _refuse_unequal_lengths(spec, planned)
    table_folder = folder_of(name, scale)
    runs = Path(planned[0].cfg.paths.runs)
    folder = runs / table_folder.name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    cores = _cores(spec, jobs)
    table = Table(spec, _make(spec, planned, folder, cores))
    if spec.equal_seconds:
        table.equal_time_runs = _make(spec, equal_time_runs(table.part, planned), folder, cores)
    table.tests = compare_rows(spec, table.runs)
    command = command_of(name, extra, scale=scale, seeds=seeds)
    table.origin = origin_of(
        command, [run.artifact for run in (*table.runs, *table.equal_time_runs)]
    )
    table.write(table_folder)
    log_table(table, table_folder.name, planned[0].cfg, folder)
    return table


def _cores(spec: TableSpec, jobs: int | None) -> int:
    """How many to keep busy: of a table of speeds, whose jobs run one at a time, one."""
    if spec.alone and jobs not in (None, 1):
        raise UserError(f"--jobs {jobs}: this table compares speeds, and runs one job at a time")
    return 1 if spec.alone else jobs or os.cpu_count() or 1


def folder_of(name: str, scale: str | None) -> Path:
    """Where a table is written to; a scale other than the usual one has a folder of its own."""
    return Path("tables") / (name if scale in (None, "cpu") else f"{name}_{scale}")


def _plan_row(spec: TableSpec, row: Row, extra: Sequence[str]) -> list[PlannedRun]:
    """The runs of a row: a student's for each seed, the teacher's one.

    Constructors do not depend on the seed, so they are tried once.
    """
    overrides = spec.row_overrides(row, extra)
    run = _planned(row.row, row.row, overrides)
    rehearse(run.cfg)
    _refuse_unscored(spec, run)
    if not spec.seeds or run.cfg.stage == "teacher":
        return [run]
    several = len(spec.seeds) > 1
    return [
        _planned(
            f"{row.row}, seed {seed}" if several else row.row,
            row.row,
            (*overrides, f"seed={seed}"),
        )
        for seed in spec.seeds
    ]


def _refuse_unscored(spec: TableSpec, run: PlannedRun) -> None:
    """What a table shows must be among what its runs are scored by."""
    cfg = run.cfg
    if not {1, 5} <= set(cfg.scoring.beam_sizes):
        raise UserError(
            f"{run.row}: a table needs beam sizes 1 and 5, not {cfg.scoring.beam_sizes}"
        )
    task: Task = instantiate(cfg.task, _convert_="all")
    there = result_paths(task, instantiate(cfg.scoring), cfg.data.get("further_tests", ()))
    needed = spec.metrics
    if run.stages.subject.name == "teacher_text":  # a black box: what is not known is left empty
        there = [path for path in there if path.startswith("beam_") and "words" not in path]
        needed = [c.metric for c in spec.claims if c.row == run.row]
        needed += [c.other_metric or c.metric for c in spec.claims if c.other == run.row]
    missing = [path for path in needed if path not in there]
    if missing and missing[0].startswith(f"{DRAWN}/") and task.writes and not cfg.scoring.draws:
        raise UserError(
            f"{run.row}: the table needs {missing[0]}, and no text is drawn: set scoring.draws=true"
        )
    if missing:
        raise UserError(
            f"{run.row}: the table needs {missing[0]}, and there will be {', '.join(there)}. Give "
            f"the table scores, best and claims of these, or the task other metrics"
        )


def _planned(label: str, row: str, overrides: tuple[str, ...]) -> PlannedRun:
    cfg = compose(overrides)
    check(cfg)
    return PlannedRun(label, row, overrides, cfg, plan(cfg, overrides))


def _refuse_unequal_lengths(spec: TableSpec, planned: Sequence[PlannedRun]) -> None:
    """Steps are scaled by one override, which a student shares with the one it starts from."""
    for run in planned:
        if run.cfg.stage == "teacher":
            if run.row == spec.baseline:
                raise UserError("equal_seconds needs a baseline that is a student")
            continue
        students = [s for s in run.stages.scores.ancestry() if s.name == "student"]
        trainings = [student.config["training"] for student in students]
        for training in trainings:
            validations = training["max_steps"] // training["validate_every"]
            if training["patience"] < validations:
                raise UserError(
                    f"{run.row}: equal_seconds needs trainings that go on to their end: set "
                    f"student_training.patience to {validations} at least, got "
                    f"{training['patience']}"
                )
        if len({(t["max_steps"], t["validate_every"]) for t in trainings}) > 1:
            raise UserError(
                f"{run.row}: equal_seconds scales the steps of a student and of the one that it "
                f"starts from alike: give student_training.max_steps and "
                f"student_training.validate_every in the table's overrides"
            )


def equal_time_runs(part: Part, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The students once more, with steps for about the baseline's seconds.

    The seconds are those in the store, so a second call plans the same; a row whose steps do not
    change is the same run.
    """
    target = part.fastest(part.baseline)
    again = []
    for run in planned:
        if run.cfg.stage == "teacher":
            continue
        training = run.cfg.student_training
        steps = equal_time_steps(
            training.max_steps,
            training.validate_every,
            seconds=part.fastest(run.row),
            target=target,
        )
        overrides = (*run.overrides, f"student_training.max_steps={steps}")
        again.append(_planned(f"{run.label}, {steps} steps", run.row, overrides))
    return again


def equal_time_steps(steps: int, validate_every: int, *, seconds: float, target: float) -> int:
    """Steps that take about `target` seconds where `steps` take `seconds`.

    Rounded to a multiple of `validate_every`, at least one.
    """
    return max(1, round(steps * target / seconds / validate_every)) * validate_every


def _make(spec: TableSpec, planned: Sequence[PlannedRun], folder: Path, cores: int) -> list[Run]:
    """Makes what is missing, tells of each run that is done, and gives all.

    Every run has a folder of its own beside `folder`, also one that was in the store.
    """
    store = Store(Path(planned[0].cfg.paths.artifacts))
    by_label = {run.label: run for run in planned}

    def tell(job: Job) -> None:
        if job.stage_key is None:
            _print_run(job.label, spec, _finished(by_label[job.label], store))

    store.warn_of_changed_code([run.stages.scores for run in planned])
    earlier = finished_runs(folder.parent) if any(folder.parent.rglob("result.json")) else []
    if todo := jobs_of(store, planned, {run.result["scores"] for run in earlier}):
        work_off(todo, folder, cores, console, tell)
    return [_finished(run, store) for run in planned]


def _finished(run: PlannedRun, store: Store) -> Run:
    scores = store.path(run.stages.scores)
    result = json.loads((scores / "result.json").read_text(encoding="utf-8"))
    kind = run.cfg.stage
    seed = run.cfg.teacher_seed if kind == "teacher" else run.cfg.seed
    facts = {name: metadata(scores)[name] for name in (*FACTS, "made")}
    model = result["artifacts"].get("model")  # a black box has none
    if model and (work := teacher_work(store.root / model)) is not None:
        facts["teacher_seconds"] = round(sum(work.values()), 1)
    return Run(run.row, seed, {"stage": kind, **facts, **result}, str(scores))


def _print_run(label: str, spec: TableSpec, run: Run) -> None:
    shown = [c for c in spec.scores if c.at_equal_time and not c.difference]
    shown = [c for c in shown if known(run.metrics, c.metric)]
    scores = [f"{c.head} {lookup(run.metrics, c.metric):{c.form}}" for c in shown]
    seconds = run.metrics["training_seconds"]
    console.print(f"{label}: {', '.join(scores)}, trained {seconds:.0f} s", highlight=False)
