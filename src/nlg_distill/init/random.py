"""The student starts from random parameters."""

from collections.abc import Mapping
from pathlib import Path

from nlg_distill.models import GenerationModel


class RandomInit:
    """Leaves the student as its constructor and the seed made it."""

    trained = False
    needs_teacher = False

    def __call__(self, student: GenerationModel, parents: Mapping[str, Path]) -> dict[str, str]:
        """Changes nothing."""
        return {}

    def rehearse(self, student: GenerationModel, teacher: GenerationModel) -> None:
        """Has nothing to refuse."""
