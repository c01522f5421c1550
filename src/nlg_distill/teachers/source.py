"""What every teacher source offers."""

from typing import Protocol, runtime_checkable

import torch

from nlg_distill.data.batch import Batch
from nlg_distill.models import EncoderDecoder
from nlg_distill.teachers.signal import TeacherSignal


@runtime_checkable
class TeacherSource(Protocol):
    """Gives one signal per batch, whatever it is made from."""

    @property
    def model(self) -> EncoderDecoder | None:
        """The model that can write, if one runs."""
        ...

    def to(self, device: torch.device) -> None:
        """Moves what the source holds to where the student trains."""
        ...

    def __call__(self, batch: Batch) -> TeacherSignal:
        """What the teacher says about the batch."""
        ...
