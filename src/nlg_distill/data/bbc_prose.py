"""BBC news as prose, for language modelling."""

from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.bbc_headlines import articles
from nlg_distill.data.corpus import Pair
from nlg_distill.data.pieces import pieces
from nlg_distill.errors import require_positive


class BbcProse:
    """Pieces of articles, without sources; those of an article stay in one split."""

    def __init__(self, *, max_words: int) -> None:
        """A piece has at most `max_words` words and ends where a sentence or a line does."""
        require_positive(max_words=max_words)
        self.max_words = max_words

    def read(self, downloads: Path) -> Iterator[Pair]:
        """The pieces in their order; headlines are left out."""
        for place, _, body in articles(downloads):
            for piece in pieces(body, self.max_words):
                yield Pair("", piece, place, group=place)
