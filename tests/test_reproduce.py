"""From a table's spec to its runs: seeds, and steps for equal training time."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from nlg_distill import report, store
from nlg_distill.config import compose
from nlg_distill.errors import UserError
from nlg_distill.stages.plan import plan
from nlg_distill.store import Store
from nlg_distill.tables import reproduce
from nlg_distill.tables.parts import Part, Run
from nlg_distill.tables.reproduce import (
    _cores,
    _plan_row,
    _refuse_unequal_lengths,
    equal_time_runs,
    equal_time_steps,
    folder_of,
)
from nlg_distill.tables.spec import Row, TableSpec
from nlg_distill.tables.workers import Job, PlannedRun, _startable, jobs_of


def toy_spec(*rows, **settings):
    return TableSpec(title="T", rows=[Row(**row) for row in rows], **settings)


BASE = {"row": "Base", "experiment": "baseline"}
FINE = {"row": "Fine", "experiment": "seq_inter"}
TEACHER = {"row": "Teacher", "experiment": "teacher"}


def test_a_student_is_run_once_per_seed_and_the_teacher_once():
    spec = toy_spec(TEACHER, BASE, baseline="Base", seeds=[3, 5])
    runs = [run for row in spec.rows for run in _plan_row(spec, row, ["logger=none"])]
    assert [run.label for run in runs] == ["Teacher", "Base, seed 3", "Base, seed 5"]
    assert [run.cfg.seed for run in runs[1:]] == [3, 5]
    assert all("logger=none" in run.overrides for run in runs)


def test_without_seeds_the_config_keeps_its_own():
    spec = toy_spec(BASE, baseline="Base")
    (run,) = _plan_row(spec, spec.rows[0], ["seed=7"])
    assert (run.label, run.cfg.seed) == ("Base", 7)


def test_a_seed_beside_the_seeds_of_a_table_is_refused():
    spec = toy_spec(BASE, baseline="Base", seeds=[1, 2])
    with pytest.raises(UserError, match=r"leave out seed=7, the table's seeds are \[1, 2\]"):
        _plan_row(spec, spec.rows[0], ["seed=7"])


def test_shared_stages_have_labels_of_their_own(tmp_path):
    spec = toy_spec(FINE, baseline="Fine", seeds=[1, 2, 3])
    jobs = jobs_of(Store(tmp_path), _plan_row(spec, spec.rows[0], ()), set())
    labels = [job.label for job in jobs]
    assert len(set(labels)) == len(labels)
    assert sum(label.startswith("student") for label in labels) == 3


def test_no_two_jobs_share_a_folder(tmp_path):
    spec = toy_spec(BASE, baseline="Base")
    (run,) = _plan_row(spec, spec.rows[0], ())
    runs = [replace(run, label=label) for label in ("a + b", "A b", "a/b", "c")]
    jobs = jobs_of(Store(tmp_path), runs, set())
    folders = {job.label: job.folder for job in jobs}
    assert len({*folders.values()}) == len(jobs)
    assert (folders["a + b"], folders["c"]) == ("a_b", "c")
    assert not any("/" in folder for folder in folders.values())


def test_speeds_are_measured_one_at_a_time():
    alone = toy_spec(BASE, baseline="Base", alone=True)
    assert [_cores(alone, jobs) for jobs in (None, 1)] == [1, 1]
    with pytest.raises(UserError, match="--jobs 4: this table compares speeds"):
        _cores(alone, 4)
    assert _cores(toy_spec(BASE, baseline="Base"), 4) == 4


@pytest.mark.parametrize(
    ("scale", "folder"), [(None, "toy"), ("cpu", "toy"), ("paper", "toy_paper")]
)
def test_no_scale_overwrites_the_table_of_another(scale, folder):
    assert folder_of("toy", scale).name == folder


# Jobs.


def job(label, threads=1, provides=(), needs=()):
    return Job(label, (), None, threads, frozenset(provides), frozenset(needs))


@pytest.mark.parametrize(
    ("todo", "running", "pending", "started"),
    [
        ([job("a"), job("b"), job("c")], [], (), ["a", "b"]),
        ([job("a", 2), job("b")], [job("x")], (), ["b"]),
        ([job("a", 9), job("b")], [], (), ["a"]),
        ([job("a", 9)], [job("x")], (), []),
        ([job("a", needs=["k"]), job("b")], [], ("k",), ["b"]),
        ([job("a", needs=["k"])], [], (), ["a"]),
    ],
)
def test_a_job_starts_when_its_threads_are_free_and_what_it_needs_is_there(
    todo, running, pending, started
):
    futures = {Future(): one for one in running}
    assert [one.label for one in _startable(todo, futures, {*pending}, 2)] == started


# Equal training time.


@pytest.mark.parametrize(
    ("seconds", "target", "steps"),
    [
        (40.0, 40.0, 400),
        (80.0, 40.0, 200),
        (70.0, 40.0, 200),  # 229
        (60.0, 40.0, 300),  # 267
        (20.0, 40.0, 800),
        (4000.0, 40.0, 100),  # 4, but one validation is needed
    ],
)
def test_steps_for_equal_time_are_a_positive_multiple_of_validate_every(seconds, target, steps):
    assert equal_time_steps(400, 100, seconds=seconds, target=target) == steps


METHODS = {
    "Teacher": ["experiment=teacher"],
    "Base": ["experiment=baseline", "student_training.max_steps=2000"],
    "KD": ["experiment=word_kd", "student_training.max_steps=2000"],
}


def planned(row, *more):
    overrides = (*METHODS[row], *more)
    cfg = compose(overrides)
    return PlannedRun(", ".join([row, *more]), row, overrides, cfg, plan(cfg, overrides))


def timed(row, seconds):
    return Run(row, 1, {"stage": "student", "total_training_seconds": seconds}, "scores/0")


def test_students_train_for_the_seconds_of_the_baselines_fastest_run():
    before = [planned(row, f"seed={s}") for row in ("Base", "KD") for s in (1, 2)]
    runs = [timed("Base", 100.0), timed("Base", 300.0), timed("KD", 250.0), timed("KD", 270.0)]
    again = equal_time_runs(Part(runs, "Base"), [planned("Teacher"), *before])
    assert [run.row for run in again] == ["Base", "Base", "KD", "KD"]
    assert [run.cfg.seed for run in again] == [1, 2, 1, 2]
    steps = [run.cfg.student_training.max_steps for run in again]
    assert steps == [2000, 2000, 800, 800]  # 2000 * 100 / 250
    keys = [run.stages.scores.key for run in (*before, *again)]
    assert keys[4:6] == keys[:2], "the baseline is the same run"
    assert len(set(keys)) == 6
    assert again[3].cfg.student_training.schedule.max_steps == 800


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (toy_spec(FINE, baseline="Fine"), "Fine: equal_seconds scales the steps of a student"),
        (toy_spec(TEACHER, baseline="Teacher"), "a baseline that is a student"),
        (
            toy_spec(BASE, baseline="Base", overrides=["student_training.patience=2"]),
            "Base: equal_seconds needs trainings that go on .* to 5 at least, got 2",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused_before_a_start(spec, message):
    runs = [run for row in spec.rows for run in _plan_row(spec, row, ())]
    with pytest.raises(UserError, match=message):
        _refuse_unequal_lengths(spec, runs)


def test_a_student_that_shares_its_length_with_its_start_can_be_scaled():
    length = ("student_training.max_steps=1200", "student_training.validate_every=200")
    spec = toy_spec(FINE, baseline="Fine", overrides=length)
    runs = _plan_row(spec, spec.rows[0], ())
    _refuse_unequal_lengths(spec, runs)
    part = Part([timed("Fine", 300.0), timed("Half", 150.0)], "Half")
    (again,) = equal_time_runs(part, runs)
    start = again.stages.subject.parents["init"]
    assert start.config["training"]["max_steps"] == 600


@pytest.mark.parametrize("console", [report.console, reproduce.console, store.console])
def test_brackets_of_overrides_are_printed(console, capsys):
    console.print("run loss=[nll] [red]")
    said = capsys.readouterr()
    assert "run loss=[nll] [red]" in said.out + said.err
