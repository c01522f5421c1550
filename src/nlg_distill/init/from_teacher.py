"""What all starts from a teacher share: which layers, and the report of what came from where."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.stages.models import load_model

Report = dict[str, str]
"""Where the value of each parameter came from; what is not in it stays as it was."""


class FromTeacher(ABC):
    """Hands parameters of a trained teacher over to the student."""

    trained = True
    needs_teacher = True

    def __call__(self, student: GenerationModel, parents: Mapping[str, Path]) -> Report:
        """Hands over and says what.

        Raises:
            UserError: if the student cannot take it.
        """
        return self.hand_over(student, load_model(parents["init_teacher"]))

    def rehearse(self, student: GenerationModel, teacher: GenerationModel) -> None:
        """Refuses what cannot be handed over, told by models without values."""
        self.hand_over(student, teacher.merged())

    @abstractmethod
    def hand_over(self, student: GenerationModel, teacher: GenerationModel) -> Report:
        """Changes the student's parameters."""


def chosen_layers(
    layers: str | Sequence[int], student: GenerationModel, teacher: GenerationModel
) -> list[int]:
    """The teacher's layer for each of the student's.

    Args:
        layers: `spaced` takes the first, the last and those between at equal distances, `first`
            and `last` neighbours at one end; or the numbers, from 0.
        student: has as many layers as there are numbers.
        teacher: has layers with these numbers.

    Raises:
        UserError: if it is none of these.
    """
    ours, theirs = num_layers(student), num_layers(teacher)
    if isinstance(layers, str):
        if ours > theirs:
            raise UserError(
                f"init.layers={layers}: the student has {ours} layers and the teacher {theirs}: "
                f"name one for each, as in init.layers={[i % theirs for i in range(ours)]}"
            )
        gaps = max(1, ours - 1)
        ways = {
            "spaced": [round(i * (theirs - 1) / gaps) for i in range(ours)],
            "first": list(range(ours)),
            "last": list(range(theirs - ours, theirs)),
        }
        if layers not in ways:
            raise UserError(
                f"init.layers must be {', '.join(ways)} or numbers such as [0,2], got {layers!r}"
            )
        return ways[layers]
    if len(layers) != ours:
        raise UserError(
            f"init.layers={list(layers)} names {len(layers)} of the teacher's layers, but the "
            f"student has {ours}: give one for each of the student's"
        )
    return list(layers)


def num_layers(model: GenerationModel) -> int:
    """How many layers a model's parameters name."""
    found = (model.LAYER.search(name) for name in model.state_dict())
    return 1 + max((int(layer[0]) for layer in found if layer), default=-1)


def sources(
    student: GenerationModel, teacher: GenerationModel, layers: Sequence[int]
) -> dict[str, tuple[str, Tensor]]:
    """For each of the student's parameters the teacher's, by its name there.

    Raises:
        UserError: if the teacher has none, or the models are of two kinds.
    """
    refuse_adapters(student)
    if student.architecture != teacher.architecture:
        raise UserError(
            f"the student is a {student.architecture} and the teacher a {teacher.architecture}, "
            f"whose parameters mean other things: give both models one architecture"
        )
    given, found = teacher.state_dict(), {}
    for name in student.state_dict():
        layer = student.LAYER.search(name)
        source = name if layer is None else student.LAYER.sub(str(layers[int(layer[0])]), name, 1)
        if source not in given:
            raise UserError(f"init.layers={list(layers)}: the teacher has no {source}")
        found[name] = (source, given[source])
    _refuse_other_ties(student, teacher, {name: source for name, (source, _) in found.items()})
    return found


def refuse_adapters(student: GenerationModel) -> None:
    """Raises a UserError where adapters alone are trained, which no teacher has."""
    if student.adapted:
        raise UserError(
            "student_model.lora trains adapters of its own checkpoint, and this start takes "
            "parameters from a teacher: leave lora out, or choose init=random"
        )


def _refuse_other_ties(
    student: GenerationModel, teacher: GenerationModel, found: Mapping[str, str]
) -> None:
    """What is one parameter of the student must be one of the teacher, or it had two values."""
    own, given = (
        {name: id(value) for name, value in model.named_parameters(remove_duplicate=False)}
        for model in (student, teacher)
    )
    first: dict[int, str] = {}
    for name, identity in own.items():
        other = first.setdefault(identity, name)
        if given[found[name]] != given[found[other]]:
            raise UserError(
                f"{name} and {other} are one parameter of the student, and {found[name]} and "
                f"{found[other]} two of the teacher: set the student's tied embeddings as the "
                f"teacher has them"
            )
