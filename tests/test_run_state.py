"""How a run goes, read by another process: it goes on, ended, failed, or was killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime

import pytest

from nlg_distill.errors import UserError
from nlg_distill.runs.state import FILENAME, LOCK, read_state, state_kept

PROGRAM = """
import signal, sys, time
from pathlib import Path
from nlg_distill.runs.state import state_kept
signal.signal(signal.SIGINT, signal.default_int_handler)  # behind a shell's & it is ignored
with state_kept(Path(sys.argv[1]), "mine", ["seed=3"]):
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def process(tmp_path):
    """A run that goes on in another process, in a folder of its own."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "begun\n"
        yield running
        running.kill()


def end(process, number):
    process.send_signal(number)
    process.wait(timeout=30)


def test_a_run_goes_on_as_long_as_its_process_lives(process, tmp_path):
    state = read_state(tmp_path)
    assert (state.status, state.doubt) == ("running", "")
    assert (state.name, state.overrides) == ("mine", ["seed=3"])
    assert abs(time.time() - state.began.timestamp()) < 30
    assert json.loads((tmp_path / FILENAME).read_text())["pid"] == process.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_is_known_at_once(process, tmp_path, number):
    end(process, number)
    state = read_state(tmp_path)
    assert (state.status, state.doubt, state.error) == ("killed", "", "")


def test_a_new_run_in_a_folder_takes_away_what_an_earlier_one_left(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with state_kept(tmp_path, "run", []):
        assert not (tmp_path / "result.json").exists()
    assert read_state(tmp_path).status != "finished"


def test_a_second_run_in_the_folder_is_refused(process, tmp_path, monkeypatch):
    monkeypatch.setattr("nlg_distill.runs.state.PATIENCE", 0.1)
    with (
        pytest.raises(UserError, match=f"another run works in {tmp_path}: give .* another name="),
        state_kept(tmp_path, "run", []),
    ):
        pass
    assert read_state(tmp_path).status == "running"


def test_a_run_without_an_end_may_be_begun_again(process, tmp_path):
    end(process, signal.SIGKILL)
    with state_kept(tmp_path, "run", []):
        assert read_state(tmp_path).status == "running"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("seed must be int,\ngot 'x'"), "seed must be int, got 'x'"),
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_failed_run_leaves_its_error(tmp_path, error, sentence):
    with pytest.raises(type(error)), state_kept(tmp_path / "run", "run", []):
        raise error
    state = read_state(tmp_path / "run")
    assert (state.status, state.error) == ("failed", sentence)


def test_a_run_with_a_result_is_finished(tmp_path):
    with state_kept(tmp_path, "run", []):
        (tmp_path / "result.json").write_text("{}")
        assert read_state(tmp_path).status == "running"
    assert read_state(tmp_path).status == "finished"


def test_seconds_are_from_the_beginning_to_the_end(tmp_path):
    write_state(tmp_path, began="2026-01-01T10:00:00+00:00", ended="2026-01-01T10:01:30+00:00")
    assert read_state(tmp_path).seconds == 90.0


def write_state(folder, began="2026-01-01T10:00:00+00:00", host=None, **facts):
    known = {"began": began, "host": host or socket.gethostname(), "pid": 4}
    known |= {"name": "baseline", "overrides": []}
    (folder / FILENAME).write_text(json.dumps(known | facts))
    (folder / LOCK).touch()


@pytest.mark.parametrize(("silent", "status"), [(20, "running"), (400, "killed")])
def test_of_another_machine_the_last_sign_of_life_decides(tmp_path, silent, status):
    write_state(tmp_path, host="node7")
    touched = time.time() - silent
    os.utime(tmp_path / FILENAME, (touched, touched))
    state = read_state(tmp_path)
    assert state.status == status
    assert "it is of node7, pid 4, whose lock cannot be seen from here" in state.doubt
    assert f"its last sign of life is {silent} s old" in state.doubt
    if status == "killed":  # it went on until then
        assert state.seconds == pytest.approx(touched - state.began.timestamp())


def test_an_end_that_was_written_leaves_no_doubt(tmp_path):
    write_state(tmp_path, host="node7", ended="2026-01-01T10:01:30+00:00", error="it broke")
    assert (read_state(tmp_path).status, read_state(tmp_path).doubt) == ("failed", "")


def test_a_lock_that_may_not_be_opened_decides_nothing(tmp_path, monkeypatch):
    def refuse(*args, **settings):
        raise PermissionError

    write_state(tmp_path)
    monkeypatch.setattr("nlg_distill.runs.state.FileLock", refuse)
    state = read_state(tmp_path)
    assert state.status == "running"
    assert state.doubt


def test_a_run_that_goes_on_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr("nlg_distill.runs.state.TOUCHED_EVERY", 0.01)
    with state_kept(tmp_path, "run", []):
        os.utime(tmp_path / FILENAME, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / FILENAME).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / FILENAME).stat().st_mtime < 10
    ended = (tmp_path / FILENAME).stat().st_mtime
    time.sleep(0.1)
    assert (tmp_path / FILENAME).stat().st_mtime == ended


def test_where_no_state_was_kept_none_is_read(tmp_path):
    assert read_state(tmp_path) is None


def test_times_are_of_one_zone(tmp_path):
    with state_kept(tmp_path, "run", []):
        pass
    facts = json.loads((tmp_path / FILENAME).read_text())
    assert datetime.fromisoformat(facts["began"]).utcoffset().total_seconds() == 0
