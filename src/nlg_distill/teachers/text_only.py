"""The teacher as a black box that only writes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nlg_distill.data.batch import Batch, Example
from nlg_distill.models import GenerationModel
from nlg_distill.teachers.signal import Gives, TeacherSignal


class TextOnlyTeacher:
    """Says nothing about a batch: the targets policy has its text, and that is all there is."""

    needs_model = False

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """Nothing that a loss could compare."""
        return frozenset()

    @property
    def model(self) -> GenerationModel | None:
        """None runs beside the student."""
        return None

    def to(self, device: torch.device) -> None:
        """There is nothing to move."""

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Nobody reads them."""

    def __call__(self, batch: Batch) -> TeacherSignal:
        """An empty signal."""
        return TeacherSignal()
