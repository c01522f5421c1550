"""What a corpus is: pairs of texts, and where they came from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nlg_distill.errors import UserError


@dataclass(frozen=True)
class Pair:
    """A source text, its target text, and where they are from.

    Args:
        source: what is read; empty where a corpus has no sources, as in language modelling.
        target: what is to be written.
        place: where they were read from, for error messages.
        group: the text that they are part of, such as a conversation, which no split may cut; empty
            for a pair that stands alone.
        split: `train`, `validation` or `test` where the corpus is published in such parts.
    """

    source: str
    target: str
    place: str = ""
    group: str = ""
    split: str = ""


@runtime_checkable
class Corpus(Protocol):
    """A reader of raw pairs: one file per corpus, one constructor call per config."""

    def read(self, downloads: Path) -> Iterator[Pair]:
        """The raw pairs in their own order; packages are kept in `downloads`."""
        ...


class OfFiles(ABC):
    """A corpus that may be of local files, whose content is then part of its key."""

    @classmethod
    @abstractmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What identifies the files that its config names, if any; no corpus is read."""


def hashes(files: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of each file, by its role.

    Raises:
        UserError: if there is no such file.
    """
    if missing := [path for path in files.values() if not Path(path).is_file()]:
        raise UserError(f"there is no file {Path(missing[0]).absolute()}")
    found = {}
    for role, path in files.items():
        with Path(path).open("rb") as file:
            found[role] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
