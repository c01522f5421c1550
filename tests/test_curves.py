"""Curves are kept beside the model, without what a killed attempt did in vain."""

from nlg_distill.curves import FILENAME, CurvesLogger, read_curves


def test_what_is_logged_is_read_back(tmp_path):
    logger = CurvesLogger(tmp_path)
    logger.log_metrics({"train/loss": 2.5, "epoch": 0}, step=49)
    logger.log_metrics({"val/bleu": 1.0}, step=49)
    assert read_curves(tmp_path) == [
        {"step": 49, "train/loss": 2.5},
        {"step": 49, "val/bleu": 1.0},
    ]


def test_a_second_attempt_replaces_what_comes_after_its_checkpoint(tmp_path):
    first, second = CurvesLogger(tmp_path), CurvesLogger(tmp_path)
    for step in (49, 99, 149):
        first.log_metrics({"train/loss": float(step)}, step=step)
    second.log_metrics({"train/loss": 0.5}, step=99)
    second.log_metrics({"val/bleu": 1.0}, step=99)
    assert read_curves(tmp_path) == [
        {"step": 49, "train/loss": 49.0},
        {"step": 99, "train/loss": 0.5},
        {"step": 99, "val/bleu": 1.0},
    ]


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    (tmp_path / FILENAME).write_text('{"step": 1, "train/loss": 2.0}\n{"step": 2, "tra')
    assert read_curves(tmp_path) == [{"step": 1, "train/loss": 2.0}]
    CurvesLogger(tmp_path).log_metrics({"train/loss": 1.5}, step=2)
    assert [line["step"] for line in read_curves(tmp_path)] == [1, 2]


def test_a_model_without_curves_has_none(tmp_path):
    assert read_curves(tmp_path) == []
