"""What a corpus is: pairs of texts, and where they came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Pair:
    """A source text, its target text, and where they are from.

    Args:
        source: what is read; empty where a corpus has no sources, as in language modelling.
        target: what is to be written.
        place: where they were read from, for error messages.
        group: the text that they are part of, such as a conversation, which no split may cut; empty
            for a pair that stands alone.
    """

    source: str
    target: str
    place: str = ""
    group: str = ""


@runtime_checkable
class Corpus(Protocol):
    """A reader of raw pairs: one file per corpus, one constructor call per config."""

    def read(self, downloads: Path) -> Iterator[Pair]:
        """The raw pairs in their own order; packages are kept in `downloads`."""
        ...
