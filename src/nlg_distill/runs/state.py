"""Whether a run goes on, is finished, failed or was killed.

A run holds a lock in its folder as long as its process lives; the kernel lets go of it, also after
`kill -9`. On the machine of the run, and wherever locks reach all machines, a run whose lock is
held goes on and one whose lock is free does not. Not every shared file system does that, so a run
also touches its `state.json` twice a minute: of a run on another machine whose lock seems free,
that sign of life is all that is known.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nlg_distill.errors import UserError, described
from nlg_distill.store import write_json

FILENAME = "state.json"
LOCK = "run.lock"
PATIENCE = 10.0  # seconds
TOUCHED_EVERY = 30.0  # seconds
SILENT_FOR = 300.0  # seconds without a sign of life after which a run elsewhere is taken for dead
RESULTS = ("result.json", "samples.jsonl")
STATUSES = ("running", "finished", "failed", "killed")


@contextmanager
def state_kept(folder: Path, name: str, overrides: Sequence[str]) -> Iterator[None]:
    """Keeps the state of a run in its folder, which is made, from now to its end.

    Args:
        folder: of the run.
        name: of the run.
        overrides: what the user gave.

    Raises:
        UserError: if another run works in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)  # who looks whether it is held, has it for a moment
    except Timeout as error:
        raise UserError(f"another run works in {folder}: give this one another name=") from error
    facts = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "name": name,
        "overrides": list(overrides),
    }
    for old in RESULTS:  # of a run that was here before
        (folder / old).unlink(missing_ok=True)
    _write(folder, facts)
    over = threading.Event()
    threading.Thread(target=_touch, args=(folder / FILENAME, over), daemon=True).start()
    try:
        yield
    except Exception as error:
        facts["error"] = " ".join(described(error).split())
        raise
    finally:
        over.set()
        _write(folder, {**facts, "ended": datetime.now(UTC).isoformat(timespec="seconds")})
        lock.release()


@dataclass(frozen=True)
class RunState:
    """What is known of a run.

    Args:
        status: one of `STATUSES`.
        doubt: what cannot be known about it, for people; nothing where the status is certain.
        began: when.
        seconds: from its beginning to its end or its last sign of life.
        name: of the run.
        overrides: what the user gave.
        error: what a failed run ended with.
    """

    status: str
    doubt: str
    began: datetime
    seconds: float
    name: str
    overrides: Sequence[str]
    error: str = ""


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder; None if none was kept there."""
    path = folder / FILENAME
    if not path.is_file():
        return None
    touched = path.stat().st_mtime
    facts = json.loads(path.read_text(encoding="utf-8"))
    began = datetime.fromisoformat(facts["began"])
    status, doubt = _status(folder, facts, touched)
    if status == "running":
        end = time.time()
    else:
        end = datetime.fromisoformat(facts["ended"]).timestamp() if "ended" in facts else touched
    seconds = max(0.0, end - began.timestamp())
    name, overrides = facts.get("name", "?"), facts["overrides"]
    return RunState(status, doubt, began, seconds, name, overrides, facts.get("error", ""))


def _status(folder: Path, facts: dict[str, Any], touched: float) -> tuple[str, str]:
    """The status, and what cannot be known about it."""
    held = _is_held(folder / LOCK)
    if held:
        return "running", ""
    if "error" in facts:
        return "failed", ""
    if (folder / "result.json").is_file():
        return "finished", ""
    if "ended" in facts or (held is False and facts["host"] == socket.gethostname()):
        return "killed", ""
    silent = time.time() - touched
    doubt = (
        f"it is of {facts['host']}, pid {facts['pid']}, whose lock cannot be seen from here for "
        f"certain; its last sign of life is {silent:,.0f} s old"
    )
    return ("running" if silent < SILENT_FOR else "killed"), doubt


def _is_held(path: Path) -> bool | None:
    """Whether a process holds a lock; None if that cannot be found out."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # of another user, or on a disk that is read-only
        return None


def _touch(path: Path, over: threading.Event) -> None:
    while not over.wait(TOUCHED_EVERY):
        with suppress(OSError):  # a disk of a network may be away for a while
            os.utime(path)


def _write(folder: Path, facts: dict[str, Any]) -> None:
    write_json(folder / FILENAME, facts)
