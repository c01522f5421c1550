"""Processes that work for another one: they end with it, and one that dies takes no other along."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlg_distill.tables.processes import Processes

PARENT = """
import sys
from test_processes import note_and_wait
from nlg_distill.tables.processes import Processes

if __name__ == "__main__":
    with Processes() as processes:
        begun = [processes.submit(note_and_wait, file) for file in sys.argv[1:]]
        begun[0].result()
"""


def note_and_wait(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(300)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def is_alive(pid):
    """Whether a process runs: one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids_in(files):
    wait_for(lambda: all(f.is_file() and f.read_text() for f in files))
    return [int(file.read_text()) for file in files]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_workers_end_when_their_parent_is_killed(tmp_path, sent):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    files = [tmp_path / "first", tmp_path / "second"]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, script, *files],
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # behind a shell's & it is ignored
    workers = pids_in(files)
    assert all(is_alive(pid) for pid in workers)
    parent.send_signal(sent)
    assert parent.wait(timeout=30) != 0
    wait_for(lambda: not any(is_alive(pid) for pid in workers), seconds=10)


def refuse(value):
    raise ValueError(f"not {value}")


def end_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_takes_no_other_along(tmp_path):
    with Processes() as processes:
        killed = processes.submit(end_itself)
        refused = processes.submit(refuse, 3)
        wait_for(lambda: killed.done() and refused.done())
        assert "was killed" in processes.error(killed)
        assert processes.error(refused) == "not 3"
        again = processes.submit(os.getpid)  # in the process of the refused one
        wait_for(again.done)
        assert processes.error(again) is None
        assert len(processes._idle) == 1
        once_more = processes.submit(os.getpid)
        assert once_more.result() == again.result()


def test_an_error_in_the_parent_ends_what_runs(tmp_path):
    def fail():
        with Processes() as processes:
            processes.submit(note_and_wait, tmp_path / "pid")
            found.extend(pids_in([tmp_path / "pid"]))
            raise RuntimeError("of the parent")

    found = []
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="of the parent"):
        fail()
    assert time.monotonic() - begin < 100, "it did not wait for the work"
    assert not is_alive(found[0])
