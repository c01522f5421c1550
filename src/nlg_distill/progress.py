"""Progress bars with an ETA, one way for all stages.

In a terminal a bar is drawn; elsewhere, as in the log of a cluster, a line is printed twice a
minute. Inside a worker of `nlg-distill reproduce` the bar's numbers go to the file that
`NLG_DISTILL_PROGRESS` names, from which the parent draws one bar per worker.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PROGRESS_FILE_VARIABLE = "NLG_DISTILL_PROGRESS"
Item = TypeVar("Item")


@runtime_checkable
class Bar(Protocol):
    """Something that counts."""

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        ...

    def describe(self, text: str) -> None:
        """What is being done now."""
        ...


class _DrawnBar:
    def __init__(self, drawing: Progress, text: str, total: int | None) -> None:
        self.drawing = drawing
        self.task = drawing.add_task(text, total=total)

    def advance(self, amount: int = 1) -> None:
        self.drawing.advance(self.task, amount)

    def describe(self, text: str) -> None:
        self.drawing.update(self.task, description=text)


class _PrintedBar:
    """Prints its numbers, at most twice a minute."""

    def __init__(self, text: str, total: int | None) -> None:
        self.text, self.total, self.completed = text, total, 0
        self.began = self.printed_at = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self.completed += amount
        now = time.monotonic()
        if now - self.printed_at > 30:
            self.printed_at = now
            whole = "" if self.total is None else f" of {self.total:,}"
            gone = timedelta(seconds=round(now - self.began))
            print(f"{self.text}: {self.completed:,}{whole}, {gone}", file=sys.stderr, flush=True)

    def describe(self, text: str) -> None:
        self.text = text


class _WrittenBar:
    """Writes its numbers to a file, at most twice a second."""

    def __init__(self, path: Path, text: str, total: int | None) -> None:
        self.path, self.text, self.total = path, text, total
        self.completed, self.written_at = 0, 0.0

    def advance(self, amount: int = 1) -> None:
        self.completed += amount
        if time.monotonic() - self.written_at > 0.5:
            self.written_at = time.monotonic()
            numbers = {"text": self.text, "completed": self.completed, "total": self.total}
            partial = self.path.with_suffix(".part")
            partial.write_text(json.dumps(numbers))
            partial.replace(self.path)

    def describe(self, text: str) -> None:
        self.text = text


def progress_columns(unit: str = "") -> list[ProgressColumn]:
    """Text, bar, count, time gone and time left."""
    count: ProgressColumn = DownloadColumn() if unit == "B" else MofNCompleteColumn()
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), count]
    return [*columns, TimeElapsedColumn(), TimeRemainingColumn()]


@contextmanager
def progress(text: str, total: int | None, unit: str = "") -> Iterator[Bar]:
    """A bar for work of `total` steps, or of unknown length."""
    if path := os.environ.get(PROGRESS_FILE_VARIABLE):
        yield _WrittenBar(Path(path), text, total)
        return
    console = Console(file=sys.stderr, markup=False)
    if not console.is_terminal:
        yield _PrintedBar(text, total)
        return
    with Progress(*progress_columns(unit), console=console, transient=True) as drawing:
        yield _DrawnBar(drawing, text, total)


def track(items: Iterable[Item], text: str, total: int | None) -> Iterator[Item]:
    """The items, with a bar that counts them."""
    with progress(text, total) as bar:
        for item in items:
            yield item
            bar.advance()
