"""Runs in the terminal: which are chosen, in what order, and what a line says."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from finished_cases import leave_run
from test_run import settings, start, write_corpus
from test_run_state import write_state

from nlg_distill.errors import UserError
from nlg_distill.runs.listing import chosen_runs, listed_runs, show_runs, unfinished

pytestmark = pytest.mark.slow

LR = "student_training.optimizer.lr"


@pytest.fixture
def runs(tmp_path):
    """Finished runs of two learning rates and two seeds; one failed and one was killed."""
    number = 0
    for lr in (0.1, 0.2):
        for seed in (1, 2):
            folder = tmp_path / f"{number}"
            overrides = [f"{LR}={lr}", f"seed={seed}", "loss=[nll]", "logger=none"]
            bleu = 10 * lr + 2 * seed
            leave_run(folder, "word_kd", seed, bleu, overrides=overrides, settings={LR: lr})
            write_state(
                folder, f"2026-01-01T10:0{number}:00+00:00", name="word_kd", overrides=overrides
            )
            number += 1
    for name, facts in [("failed", {"error": "RuntimeError: it [broke]"}), ("killed", {})]:
        leave_run(tmp_path / name, "baseline", seed=7)
        (tmp_path / name / "result.json").unlink()
        began = f"2026-01-01T10:1{number}:00+00:00"
        ended = f"2026-01-01T10:1{number}:30+00:00"
        overrides = ["experiment=baseline", "logger=none"]
        write_state(tmp_path / name, began, ended=ended, overrides=overrides, **facts)
        number += 1
    return listed_runs(tmp_path)


def names(runs):
    return [run.folder.name for run in runs]


def test_runs_are_listed_newest_first_with_their_status(runs):
    assert names(runs) == ["killed", "failed", "3", "2", "1", "0"]
    assert [run.status for run in runs] == ["killed", "failed", *["finished"] * 4]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"status": "failed"}, ["failed"]),
        ({"where": [f"{LR}=0.1"]}, ["1", "0"]),
        ({"where": [f"{LR}=1e-1"]}, ["1", "0"]),
        ({"where": [f"{LR}=0.1", "seed=2"]}, ["1"]),
        ({"where": ["experiment=baseline"]}, ["killed", "failed"]),
        ({"where": ["experiment=baseline"], "status": "killed"}, ["killed"]),
        ({"where": ["scoring.beam_sizes=[1, 5]"], "limit": 2}, ["killed", "failed"]),
        ({"where": ["seed=9"]}, []),
        ({"sort": "beam_5/bleu", "limit": 5}, ["3", "1", "2", "0", "killed"]),  # 6, 5, 4, 3
    ],
)
def test_runs_are_chosen(runs, wanted, expected):
    assert names(chosen_runs(runs, **wanted)) == expected


def test_runs_are_sorted_the_best_first(tmp_path):
    for name, perplexity in [("a", 7.0), ("b", 5.0), ("c", 6.0)]:
        leave_run(tmp_path / name, bleu=perplexity, result={"perplexity": perplexity})
    found = listed_runs(tmp_path)
    assert names(chosen_runs(found, sort="perplexity")) == ["b", "c", "a"]
    assert names(chosen_runs(found, sort="beam_5/bleu", limit=2)) == ["a", "c"]


def test_runs_are_sorted_by_the_score_that_a_search_optimises(tmp_path):
    for name, bleu in [("a", 7.0), ("b", 9.0), ("c", 8.0)]:
        leave_run(tmp_path / name, bleu=bleu, result={"best_validation_bleu": bleu})
    found = listed_runs(tmp_path)
    assert names(chosen_runs(found, sort="best_validation_bleu")) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"status": "done"}, "no status 'done': there are running, finished, failed, killed"),
        ({"where": ["lr=0.1"]}, rf"no run has a setting 'lr': did you mean {LR} or teacher"),
        ({"where": ["lr"]}, "--where takes KEY=VALUE, got 'lr'"),
        ({"sort": "mode_probability"}, "is better at its least or its largest is not known: sort"),
        ({"sort": "blue"}, "no run has a number at 'blue': there are beam_1/bleu"),
    ],
)
def test_what_does_not_exist_is_refused(runs, wanted, message):
    with pytest.raises(UserError, match=message):
        chosen_runs(runs, **wanted)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run below"):
        listed_runs(tmp_path)


def test_unfinished_runs_are_counted(runs):
    assert unfinished([runs[0].folder.parent]) == {"failed": 1, "killed": 1}


def test_a_line_says_what_a_run_was_given_and_what_came_of_it(runs, capsys):
    show_runs(runs, 9)
    lines = capsys.readouterr().out.splitlines()
    head, killed, failed, best = (line.split() for line in lines[:4])
    assert head == [
        "when",
        "name",
        "seed",
        "status",
        "score",
        "s",
        "trained",
        "folder",
        "overrides",
    ]
    assert killed[2:] == ["baseline", "7", "killed", "after", "0:00:30", str(runs[0].folder)]
    assert failed[2:6] == ["baseline", "7", "failed", "after"]
    told = ["word_kd", "2", "finished", "BLEU", "K=5", "6.0", "90", str(runs[2].folder)]
    assert best[2:] == [*told, "lr=0.2", "loss=[nll]"]
    assert lines[7:] == [
        "6 of 9 runs",
        "all with logger=none",
        f"{runs[1].folder}: failed: RuntimeError: it [broke]",
    ]


def test_the_metric_that_runs_are_sorted_by_is_shown(runs, capsys):
    show_runs(chosen_runs(runs, sort="perplexity", limit=1), 6, "perplexity")
    assert "PPL 12.0" in capsys.readouterr().out


def test_a_doubt_is_told(tmp_path, capsys):
    write_state(tmp_path, host="node7")
    show_runs(listed_runs(tmp_path), 1)
    said = capsys.readouterr().out
    assert " running? for 0" not in said
    assert " running? for " in said
    assert f"{tmp_path}: running: it is of node7, pid 4, whose lock cannot be seen" in said


def test_one_error_of_several_runs_is_told_once(tmp_path, capsys):
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
        write_state(tmp_path / name, error="no such corpus" if name != "2" else "it broke")
    show_runs(listed_runs(tmp_path), 3)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{tmp_path / '3'} and 1 more: failed: no such corpus",
        f"{tmp_path / '2'}: failed: it broke",
    ]


def test_a_run_that_was_refused_has_its_name(tmp_path, capsys):
    write_state(tmp_path, error="no", overrides=["loss=[]"])
    show_runs(listed_runs(tmp_path), 1)
    assert capsys.readouterr().out.splitlines()[1].split()[2] == "baseline"


def test_a_run_that_was_made_before_states_were_kept_is_finished(tmp_path):
    leave_run(tmp_path / "0", overrides=["seed=1"])
    assert [(run.status, run.seed) for run in listed_runs(tmp_path)] == [("finished", "1")]


def list_runs(folder):
    command = [sys.executable, "-c", "from nlg_distill.cli import main; main()", "runs"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout


def test_runs_of_train_py_are_running_killed_failed_and_finished(tmp_path):
    """One process after the other, as a user sees them from another terminal."""
    write_corpus(tmp_path)
    common = [*settings(tmp_path, steps=200), "experiment=baseline"]

    process = start(common, tmp_path)
    while not list((tmp_path / "artifacts").glob("student/*.partial/work/last.ckpt")):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    assert " running for 0:" in list_runs(tmp_path / "runs")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert " killed after 0:" in list_runs(tmp_path / "runs")

    wrong = "data.splitting.test=5000"
    assert start([*common, wrong], tmp_path).wait() != 0
    listed = list_runs(tmp_path / "runs")
    assert " failed after 0:" in listed
    assert "5000" in listed.split(": failed: ")[1]

    short = ["student_training.max_steps=1", "seed=2"]
    assert start([*common, *short], tmp_path).wait() == 0
    finished = next(line for line in list_runs(tmp_path / "runs").splitlines() if "finish" in line)
    assert " baseline " in finished
    assert "max_steps=1" in finished
    (result,) = (tmp_path / "runs").rglob("result.json")
    facts = json.loads(result.read_text())
    assert 100 < facts["peak_megabytes"] < 4000
    assert str(result.parent) in finished.replace("\n", "")
