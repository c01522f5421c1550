"""Finished runs are read as they were left."""

import json

import pytest

from nlg_distill.errors import UserError
from nlg_distill.runs.finished import finished_runs


def leave_a_run(folder, name):
    folder.mkdir(parents=True)
    artifacts = {"model": "student/0123", "teacher": "teacher/4567"}
    result = {"name": name, "artifacts_root": str(folder / "artifacts"), "artifacts": artifacts}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text("student_training: {max_steps: 7}\n")
    (folder / "samples.jsonl").write_text('{"source": "a\u2028b", "gold": "c"}\n', "utf-8")


def test_runs_below_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        leave_a_run(tmp_path / "table" / name, name)
    (tmp_path / "table" / "running").mkdir()
    runs = finished_runs(tmp_path)
    assert [run.result["name"] for run in runs] == ["a", "b"]
    assert runs[0].config == {"student_training": {"max_steps": 7}}
    assert runs[0].samples == [{"source": "a\u2028b", "gold": "c"}]
    model = runs[0].artifact("model")
    assert model == tmp_path / "table" / "a" / "artifacts" / "student" / "0123"
    assert runs[0].curves == []


def test_a_black_box_has_no_curves(tmp_path):
    leave_a_run(tmp_path / "run", "black_box")
    (run,) = finished_runs(tmp_path)
    del run.result["artifacts"]["model"]
    assert run.curves == []


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no finished run below .*a run leaves a result\.json"):
        finished_runs(tmp_path)


def test_a_result_that_is_cut_short_is_refused(tmp_path):
    leave_a_run(tmp_path / "run", "run")
    (tmp_path / "run" / "result.json").write_text('{"name": "ru')
    with pytest.raises(UserError, match=r"run.result\.json cannot be read .*make the run again"):
        finished_runs(tmp_path)
