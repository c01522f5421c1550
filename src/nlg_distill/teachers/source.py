"""What every teacher source offers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from nlg_distill.data.batch import Batch, Example
from nlg_distill.models import GenerationModel
from nlg_distill.teachers.signal import Gives, TeacherSignal


@runtime_checkable
class TeacherSource(Protocol):
    """Gives one signal per batch, whatever it is made from.

    A class also says, before anything is made, whether a model must run beside the student
    (`needs_model`; its constructor then takes the teachers), and what it `gives` with the settings
    of its config. Where it gives distributions without a model, its constructor takes what the
    stage `teacher_signal` stored.
    """

    needs_model: bool

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """What can be asked of it; a UserError if the settings are wrong."""
        ...

    @property
    def model(self) -> GenerationModel | None:
        """The model that can write, if one runs."""
        ...

    def to(self, device: torch.device) -> None:
        """Moves what the source holds to where the student trains."""
        ...

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Raises a UserError where a model that runs has too few positions for a training text."""
        ...

    def __call__(self, batch: Batch) -> TeacherSignal:
        """What the teacher says about the batch."""
        ...
