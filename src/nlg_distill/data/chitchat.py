"""Chit-chat between two people, in English.

Written for the Chit-Chat Challenge of the Perception, Control and Cognition Lab, Brigham Young
University, 2018, https://github.com/BYU-PCCL/chitchat-dataset.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, open_member
from nlg_distill.errors import require_positive

PACKAGE = Package(
    name="chitchat-dataset",
    version="0.9.0",
    filename="chitchat_dataset-0.9.0-py3-none-any.whl",
    sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
)
MEMBER = "chitchat_dataset/dataset.json"
BETWEEN_TURNS = " | "


class Chitchat:
    """The last turns of a conversation, and the reply; a conversation stays in one split."""

    def __init__(self, *, turns: int) -> None:
        """A source is the last `turns` turns, or as many as there are, with ` | ` between them.

        A turn is all that one speaker wrote before the other did, its messages joined by spaces.
        """
        require_positive(turns=turns)
        self.turns = turns

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Every turn but the first is a reply; empty turns are left out."""
        with open_member(PACKAGE.fetch(downloads), MEMBER) as file:
            for name, conversation in json.load(file).items():
                said = [_turn(messages) for messages in conversation["messages"]]
                for number, source, reply in replies(said, self.turns):
                    yield Pair(source, reply, f"{MEMBER}:{name}:{number}", group=name)


def replies(said: Sequence[str], turns: int) -> Iterator[tuple[int, str, str]]:
    """Number of each turn that answers one, the last `turns` before it, and itself.

    Empty turns are neither answered nor answers.
    """
    for i, reply in enumerate(said[1:], start=1):
        if said[i - 1] and reply:
            context = [turn for turn in said[max(0, i - turns) : i] if turn]
            yield i, BETWEEN_TURNS.join(context), reply


def _turn(messages: list[dict[str, str]]) -> str:
    return " ".join(" ".join(message["text"] for message in messages).split())
