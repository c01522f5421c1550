"""The teacher as a frozen module beside the student."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nlg_distill.data.batch import Batch, Example
from nlg_distill.models import GenerationModel
from nlg_distill.modules.teacher import TeacherModule
from nlg_distill.teachers.signal import Gives, TeacherSignal


class LiveTeacher:
    """Runs the teacher on every batch, in eval mode and without gradient.

    Not a submodule of the student's training, so the teacher is in no checkpoint.
    """

    needs_model = True

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """Everything but stored draws."""
        return frozenset(Gives) - {Gives.SAMPLES}

    def __init__(self, teacher: TeacherModule) -> None:
        """Freezes the teacher."""
        self.module = teacher.eval().requires_grad_(False)

    @property
    def model(self) -> GenerationModel:
        """The teacher's model."""
        return self.module.model

    def to(self, device: torch.device) -> None:
        """Moves the teacher to where the student trains."""
        self.module.to(device)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """As the teacher's model does."""
        self.model.refuse_too_long(examples)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherSignal:
        """The teacher's output for this batch; its logits carry no gradient."""
        return TeacherSignal(self.model(batch))
