"""The student starts from random parameters."""

from collections.abc import Mapping
from pathlib import Path

from nlg_distill.models import EncoderDecoder


class RandomInit:
    """Leaves the student as its constructor and the seed made it."""

    trained = False
    needs_teacher = False

    def __call__(self, student: EncoderDecoder, parents: Mapping[str, Path]) -> None:
        """Changes nothing."""

    def rehearse(self, student: EncoderDecoder, teacher: EncoderDecoder) -> None:
        """Has nothing to refuse."""
