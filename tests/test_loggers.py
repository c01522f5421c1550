"""Loggers: one that breaks never stops a run, and nothing needs a network."""

import json
import pickle

import pytest
import wandb
from wandb_records import offline_runs

from nlg_distill.curves import CurvesLogger, read_curves
from nlg_distill.loggers import csv_logger, no_logger, wandb_logger
from nlg_distill.store import Stage, Store
from nlg_distill.tracking.subject import Subject
from nlg_distill.tracking.wandb_run import flat

SAMPLES = [{"source": "a\u2028b", "gold": "b", "teacher": "c", "student": "d"}]


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in SAMPLES), "utf-8")
    return path


@pytest.fixture(autouse=True)
def _logged_out(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def subject(tmp_path):
    return Subject(
        folder=tmp_path / "run",
        run_folder=tmp_path / "run",
        stage="student",
        artifact=tmp_path / "artifacts" / "student" / "0123.partial",
        title="T",
        tags=["x" * 65],
        group="G",
        config={"seed": 1},
    )


def open_wandb(subject):
    return wandb_logger(subject, project="p", group=None, upload_models=False)


@pytest.mark.parametrize("broken", ["init", "login"])
def test_a_wandb_that_cannot_start_is_off_with_a_warning(subject, samples, monkeypatch, broken):
    def fail(*args, **kwargs):
        raise OSError("no luck today")

    monkeypatch.setattr(wandb, broken, fail)
    logger = open_wandb(subject)
    with pytest.warns(UserWarning, match=r"W&B stopped working .*no luck today"):
        logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_metrics({"loss": 1.0}, step=2)  # silent from now on
    logger.show({"bleu": 1.0}, samples)
    logger.finish()
    assert logger.broken


def test_wandb_of_a_logged_out_user_is_offline_and_holds_scores_and_samples(subject, samples):
    logger = open_wandb(subject)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=1)
    logger.show({"beam_1": {"bleu": 2.0}}, samples)
    logger.finish()
    (run,) = offline_runs(subject.run_folder)
    assert run.history[0] == {"step": 1, "train/loss": 1.0}
    assert run.summary["beam_1/bleu"] == 2.0
    assert run.table("samples")["data"] == [["a\u2028b", "b", "c", "d"]]
    assert list(run.run.tags) == ["x" * 64]


def log(lines, *loggers):
    for line in lines:
        metrics = dict(line)
        step = metrics.pop("step")
        for logger in loggers:
            logger.log_metrics(metrics, step)


LINES = [{"step": step, "train/loss": 5.0 - step} for step in range(5)]


def test_a_training_that_goes_on_tells_wandb_of_its_first_steps_too(subject):
    subject.artifact.mkdir(parents=True)
    log(LINES[:4], CurvesLogger(subject.artifact))  # killed; its checkpoint is of step 2
    log(LINES[2:], CurvesLogger(subject.artifact), logger := open_wandb(subject))
    logger.finish()
    (run,) = offline_runs(subject.run_folder)
    assert run.curves == read_curves(subject.artifact) == LINES


def build(config, parents, out, session):
    log(LINES, CurvesLogger(out))


@pytest.fixture
def made(tmp_path):
    """A stage that is in the store, with a parent, and the store."""
    parent = Stage("corpus", 1, {}, f"{__name__}.build")
    stage = Stage("student", 1, {}, f"{__name__}.build", {"corpus": parent})
    store = Store(tmp_path / "artifacts")
    store.get(stage, None)
    return stage, store


def test_curves_of_other_processes_are_told_when_the_training_is_done(subject, tmp_path, made):
    logger = open_wandb(subject)
    elsewhere = pickle.loads(pickle.dumps(logger))
    log(LINES, elsewhere)
    elsewhere.finish()
    assert offline_runs(tmp_path) == []
    logger.record(*made)
    logger.finish()
    (run,) = offline_runs(subject.run_folder)
    assert run.curves == LINES


def test_a_disabled_wandb_stays_so(subject, tmp_path, made, samples, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = open_wandb(subject)
    log(LINES, logger)
    logger.record(*made)
    logger.show({}, samples)
    logger.finish()
    assert not logger.broken
    assert offline_runs(tmp_path) == []


def test_a_csv_is_written_step_by_step(subject):
    logger = csv_logger(subject)
    logger.log_metrics({"train/loss": 2.5}, step=3)
    logger.save()
    assert (subject.folder / "curves" / "metrics.csv").read_text().splitlines()[1] == "3,2.5"


def test_no_logger_is_none(subject, tmp_path):
    assert no_logger(subject) is None
    assert list(tmp_path.iterdir()) == []


def test_nested_results_become_flat_names():
    assert flat({"beam_1": {"bleu": 1.0}, "parameters": 3}) == {"beam_1/bleu": 1.0, "parameters": 3}
    assert flat({"a": {"b": {"c": 1}}}) == {"a/b/c": 1}
