"""The student starts where another experiment's student ended."""

from collections.abc import Mapping
from pathlib import Path

from nlg_distill.models import EncoderDecoder
from nlg_distill.stages.models import load_model


class ExperimentInit:
    """Fine-tuning: takes over all parameters of a finished student of the same structure."""

    trained = True
    needs_teacher = False

    def __init__(self, *, experiment: str) -> None:
        """`experiment` is a file under conf/experiment; its student is trained first if need be."""
        self.experiment = experiment

    def __call__(self, student: EncoderDecoder, parents: Mapping[str, Path]) -> None:
        """Copies the finished student's parameters."""
        student.load_state_dict(load_model(parents["init"]).state_dict())
