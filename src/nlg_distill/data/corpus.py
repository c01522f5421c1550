"""What a corpus is: pairs of texts, and where they came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Pair:
    """A source text, its target text, and the place they were read from, for error messages."""

    source: str
    target: str
    place: str = ""


@runtime_checkable
class Corpus(Protocol):
    """A reader of raw pairs: one file per corpus, one constructor call per config."""

    def read(self, downloads: Path) -> Iterator[Pair]:
        """The raw pairs in their own order; packages are kept in `downloads`."""
        ...
