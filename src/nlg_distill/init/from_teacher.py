"""What all starts from a teacher share: which layers, and the report of what came from where."""

from abc import ABC, abstractmethod
from collections import defaultdict
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


def sources(
    student: GenerationModel, teacher: GenerationModel, layers: str | Sequence[int]
) -> dict[str, tuple[str, Tensor]]:
    """For each of the student's parameters the teacher's, by its name there.

    Encoder and decoder choose among their own layers. What a single layer of a stack has, as T5
    its table of positions, comes from the teacher's single one.

    Args:
        student: the model to fill.
        teacher: the model to take from.
        layers: `spaced` takes the first, the last and those between at equal distances, `first`
            and `last` neighbours at one end; or numbers, from 0, for every stack of so many layers,
            where one as deep as the teacher's may also be taken whole.

    Raises:
        UserError: if the teacher has no such layer or parameter, or the models are of two kinds.
    """
    refuse_adapters(student)
    if student.architecture != teacher.architecture:
        raise UserError(
            f"the student is a {student.architecture} and the teacher a {teacher.architecture}, "
            f"whose parameters mean other things: give both models one architecture, and positions "
            f"of one kind"
        )
    given, found = teacher.state_dict(), {}
    chosen = _chosen_layers(layers, depths(student), depths(teacher))
    single = _of_one_layer(teacher)
    for name in student.state_dict():
        stack, layer, rest = _split(student, name)
        source = name if layer is None else f"{stack}{chosen[stack][layer]}{rest}"
        source = single.get((stack, rest), source)
        if source not in given:
            raise UserError(f"init.layers={layers}: the teacher has no {source}")
        found[name] = (source, given[source])
    _refuse_other_ties(student, teacher, {name: source for name, (source, _) in found.items()})
    return found


def depths(model: GenerationModel) -> dict[str, int]:
    """How many layers the parameters of each stack name; a stack by what stands before them."""
    found: dict[str, int] = {}
    for name in model.state_dict():
        stack, layer, _ = _split(model, name)
        if layer is not None:
            found[stack] = max(found.get(stack, 0), layer + 1)
    return found


def _of_one_layer(model: GenerationModel) -> dict[tuple[str, str], str]:
    """What one of several layers has, by the stack and by what stands behind the number."""
    depth, owners = depths(model), defaultdict[tuple[str, str], list[str]](list)
    for name in model.state_dict():
        stack, layer, rest = _split(model, name)
        if layer is not None and depth[stack] > 1:
            owners[stack, rest].append(name)
    return {place: names[0] for place, names in owners.items() if len(names) == 1}


def _split(model: GenerationModel, name: str) -> tuple[str, int | None, str]:
    """What stands before the number of a parameter's layer, the number, and what stands behind."""
    layer = model.LAYER.search(name)
    if layer is None:
        return name, None, ""
    return name[: layer.start()], int(layer[0]), name[layer.end() :]


def _chosen_layers(
    layers: str | Sequence[int], ours: Mapping[str, int], theirs: Mapping[str, int]
) -> dict[str, list[int]]:
    """For each stack the teacher's layer for each of the student's."""
    if isinstance(layers, str):
        return {stack: _by_word(layers, ours[stack], theirs.get(stack, 0)) for stack in ours}
    chosen = {}
    for stack, count in ours.items():
        is_whole = count == theirs.get(stack) and len(layers) in ours.values()
        if len(layers) != count and not is_whole:
            raise UserError(
                f"init.layers={list(layers)} names {len(layers)} of the teacher's layers, but the "
                f"student has {count} in {stack}*: give one for each of the student's"
            )
        chosen[stack] = list(layers) if len(layers) == count else list(range(count))
    return chosen


def _by_word(word: str, ours: int, theirs: int) -> list[int]:
    if ours > theirs:
        raise UserError(
            f"init.layers={word}: the student has {ours} layers and the teacher {theirs}: "
            f"name one for each, as in init.layers={[i % max(1, theirs) for i in range(ours)]}"
        )
    gaps = max(1, ours - 1)
    ways = {
        "spaced": [round(i * (theirs - 1) / gaps) for i in range(ours)],
        "first": list(range(ours)),
        "last": list(range(theirs - ours, theirs)),
    }
    if word not in ways:
        raise UserError(
            f"init.layers must be {', '.join(ways)} or numbers such as [0,2], got {word!r}"
        )
    return ways[word]


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
