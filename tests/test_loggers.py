"""Curves: a logger that breaks never stops a run, and nothing needs a network."""

import json

import pytest
import wandb

from nlg_distill.loggers import csv_logger, flat, no_logger, wandb_logger

SAMPLES = [{"source": "a", "gold": "b", "teacher": "c", "student": "d"}]


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SAMPLES))
    return path


@pytest.fixture(autouse=True)
def _logged_out(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.mark.parametrize("broken", ["init", "login"])
def test_a_wandb_that_cannot_start_is_off_with_a_warning(tmp_path, samples, monkeypatch, broken):
    def fail(*args, **kwargs):
        raise OSError("no luck today")

    monkeypatch.setattr(wandb, broken, fail)
    logger = wandb_logger(tmp_path, "run", {}, project="p")
    with pytest.warns(UserWarning, match=r"W&B stopped working .*no luck today"):
        logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_metrics({"loss": 1.0}, step=2)  # silent from now on
    logger.finish({"bleu": 1.0}, samples)


class FakeRun:
    def __init__(self, **settings):
        self.settings, self.summary, self.logged, self.finished = settings, {}, {}, False

    def log(self, values, **kwargs):
        self.logged |= values

    def define_metric(self, *args, **kwargs):
        pass

    def finish(self):
        self.finished = True


def test_wandb_of_a_logged_out_user_is_offline_and_holds_scores_and_samples(
    tmp_path, samples, monkeypatch
):
    runs = []
    monkeypatch.setattr(wandb, "login", lambda **settings: False)
    monkeypatch.setattr(
        wandb, "init", lambda **settings: runs.append(FakeRun(**settings)) or runs[0]
    )
    logger = wandb_logger(tmp_path, "run", {"seed": 1}, project="p")
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finish({"beam_1": {"bleu": 2.0}}, samples)
    (run,) = runs
    assert (run.settings["mode"], run.settings["config"]) == ("offline", {"seed": 1})
    assert run.logged["loss"] == 1.0
    assert run.summary == {"beam_1/bleu": 2.0}
    assert run.logged["samples"].data == [["a", "b", "c", "d"]]
    assert run.finished


def test_a_csv_is_written_step_by_step(tmp_path):
    logger = csv_logger(tmp_path, "run", {})
    logger.log_metrics({"train/loss": 2.5}, step=3)
    logger.save()
    assert (tmp_path / "curves" / "metrics.csv").read_text().splitlines()[1] == "3,2.5"


def test_no_logger_is_none(tmp_path):
    assert no_logger(tmp_path, "run", {}) is None
    assert list(tmp_path.iterdir()) == []


def test_nested_results_become_flat_names():
    assert flat({"beam_1": {"bleu": 1.0}, "parameters": 3}) == {"beam_1/bleu": 1.0, "parameters": 3}
    assert flat({"a": {"b": {"c": 1}}}) == {"a/b/c": 1}
