"""The student starts where another experiment's student ended."""

from collections.abc import Mapping
from pathlib import Path

from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.stages.models import load_model


class ExperimentInit:
    """Fine-tuning: takes over all parameters of a finished student of the same structure."""

    trained = True
    needs_teacher = False

    def __init__(self, *, experiment: str) -> None:
        """`experiment` is a file under conf/experiment; its student is trained first if need be."""
        self.experiment = experiment

    def __call__(self, student: GenerationModel, parents: Mapping[str, Path]) -> dict[str, str]:
        """Copies the finished student's parameters, and says of each where it came from.

        Raises:
            UserError: if its structure is another.
        """
        earlier = load_model(parents["init"])
        refuse_other_structure(student, earlier, self.experiment)
        student.load_state_dict(earlier.state_dict())
        return {name: name for name in earlier.state_dict()}

    def rehearse(self, student: GenerationModel, teacher: GenerationModel) -> None:
        """Has nothing to refuse: the plan compares the earlier student, which it alone knows."""


def refuse_other_structure(
    student: GenerationModel, earlier: GenerationModel, experiment: str
) -> None:
    """Compares the parameters of a student with those that it is to start from.

    Raises:
        UserError: at the first parameter whose shape differs, or which one of them lacks.
    """
    wanted, given = (
        {name: list(value.shape) for name, value in model.state_dict().items()}
        | model.heads
        | {"architecture": model.architecture}
        for model in (student, earlier)
    )
    for name in wanted | given:
        if wanted.get(name) != given.get(name):
            raise UserError(
                f"init.experiment={experiment}: its student's {name} is {given.get(name, 'absent')}"
                f", this student's is {wanted.get(name, 'absent')}: both need the same model. Give "
                f"it on the command line, which both share, as in model@student_model=lstm_128"
            )
