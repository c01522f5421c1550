"""Long texts in pieces that end where a sentence or a line does."""

import re
from collections.abc import Iterator

from nlg_distill.errors import require_positive

_BOUNDARY = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]?[A-Z0-9])|\n+""")


def pieces(text: str, max_words: int) -> Iterator[str]:
    """Consecutive sentences, as many as fit into `max_words` words, joined by single spaces.

    A sentence ends at `.`, `!` or `?` before a capital or a digit, or where its line ends. One that
    is longer by itself is cut at `max_words`. No word is left out.
    """
    require_positive(max_words=max_words)
    piece: list[str] = []
    for sentence in _BOUNDARY.split(text):
        words = sentence.split()
        if piece and len(piece) + len(words) > max_words:
            yield " ".join(piece)
            piece = []
        piece += words
        while len(piece) > max_words:
            yield " ".join(piece[:max_words])
            piece = piece[max_words:]
    if piece:
        yield " ".join(piece)


def first_piece(text: str, max_words: int) -> str:
    """The first of a text's `pieces`; empty if the text is."""
    return next(pieces(text, max_words), "")
