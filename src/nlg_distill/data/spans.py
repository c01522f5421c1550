"""Where two tokenizers cut one text alike: its spans, each of whole tokens on both sides."""

import itertools
from collections.abc import Sequence, Set
from dataclasses import dataclass

Place = tuple[int, int]
"""Where a token stands in its text: its first character, and the one after its last."""


@dataclass(frozen=True)
class Alignment:
    """The spans of one text, in order; the last one ends with the end token of both sides.

    Only the first token of a span is read after the same text on both sides.

    Args:
        ours: the number of each span's first token on one side, end token included.
        theirs: the same on the other.
        alike: whether both first tokens begin with the span's text: not where one of them is no
            text, such as a language.
        spelled: whether the tokens of both sides spell the span's text: not where one of them
            stands for any text that its tokenizer does not know.
        lengths: tokens of both sides, end tokens included.
    """

    ours: Sequence[int]
    theirs: Sequence[int]
    alike: Sequence[bool]
    spelled: Sequence[bool]
    lengths: tuple[int, int]


def cuts(places: Sequence[Place]) -> dict[int, int]:
    """The number of the token that begins at each position, in characters, where a text can be cut.

    A cut before a token stands where the tokens before it end, and only where it begins there or
    later: what shares a character with an earlier token, such as its second byte, begins none.
    Neither does a token of no width, which may be the first part of what one character was
    normalised to. The first token begins the text whatever it is.
    """
    found, reached = {0: 0}, 0
    for number, (begin, end) in enumerate(places):
        if end > begin >= reached:
            found.setdefault(reached, number)
        reached = max(reached, end)
    return found


def align(
    ours: Sequence[Place],
    theirs: Sequence[Place],
    unknown: tuple[Set[int], Set[int]] = (frozenset(), frozenset()),
) -> Alignment:
    """The spans of a text whose tokens, without the end token, stand at these places.

    `unknown` are the numbers of the tokens on both sides that stand for an unknown text.
    """
    lengths = (len(ours) + 1, len(theirs) + 1)
    if not ours or not theirs:
        neither = not ours and not theirs
        return Alignment([0], [0], [neither], [not unknown[0] and not unknown[1]], lengths)
    here, there = cuts(ours), cuts(theirs)
    pairs = [(here[position], there[position]) for position in sorted(here.keys() & there.keys())]
    alike = [_has_width(ours[i]) and _has_width(theirs[j]) for i, j in pairs]
    pairs.append((len(ours), len(theirs)))  # the end tokens
    spelled = [
        unknown[0].isdisjoint(range(i, next_i)) and unknown[1].isdisjoint(range(j, next_j))
        for (i, j), (next_i, next_j) in itertools.pairwise(pairs)
    ]
    return Alignment(
        [i for i, _ in pairs], [j for _, j in pairs], [*alike, True], [*spelled, True], lengths
    )


def _has_width(place: Place) -> bool:
    return place[1] > place[0]
