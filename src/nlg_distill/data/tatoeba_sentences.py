"""Sentences of one of Tatoeba's languages, for language modelling."""

from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.tatoeba import MISSING, column, rows


class TatoebaSentences:
    """Single sentences, without sources."""

    def __init__(self, *, language: str) -> None:
        """`language` is a two-letter code, see `tatoeba.LANGUAGES`.

        Raises:
            UserError: if it is not in the table.
        """
        self.column = column("language", language)

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Sentences in the table's order, each as often as it is there."""
        for place, row in rows(downloads):
            if row[self.column] != MISSING:
                yield Pair("", row[self.column], place)
