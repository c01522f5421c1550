"""The student starts with some of the teacher's layers: shrink and fine-tune.

Shleifer and Rush, "Pre-trained Summarization Distillation", 2020, https://arxiv.org/abs/2010.13002,
section 3 (SFT): a student of the teacher's width takes over a subset of its layers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.stages.models import load_model


class CopyLayers:
    """Takes over everything that is not a layer, and for each layer one of the teacher's."""

    trained = True
    needs_teacher = True

    def __init__(self, *, layers: Sequence[int]) -> None:
        """`layers[i]` is the teacher's layer, from 0, that the student's layer `i` starts from."""
        self.layers = list(layers)

    def __call__(self, student: GenerationModel, parents: Mapping[str, Path]) -> None:
        """Copies the teacher's parameters.

        Raises:
            UserError: if the teacher has no such layer, or a parameter's shape differs.
        """
        take_over(student, load_model(parents["init_teacher"]), self.layers)

    def rehearse(self, student: GenerationModel, teacher: GenerationModel) -> None:
        """Refuses what cannot be copied, told by models without values."""
        take_over(student, teacher, self.layers)


def take_over(student: GenerationModel, teacher: GenerationModel, layers: Sequence[int]) -> None:
    """Copies the parameters of `teacher` and of its `layers` into `student`.

    Raises:
        UserError: if there are not as many layers as the student has, the teacher has no such
            layer, or a parameter's shape or the number of heads differs.
    """
    given, wanted = teacher.state_dict(), student.state_dict()
    found = [int(layer[0]) for name in wanted if (layer := student.LAYER.search(name))]
    if len(layers) != (count := 1 + max(found, default=-1)):
        raise UserError(
            f"init.layers={list(layers)} names {len(layers)} of the teacher's layers, but the "
            f"student has {count}: give one for each of the student's"
        )
    copied = {}
    for name, parameter in wanted.items():
        layer = student.LAYER.search(name)
        source = name if layer is None else student.LAYER.sub(str(layers[int(layer[0])]), name, 1)
        if source not in given:
            raise UserError(f"init.layers={list(layers)}: the teacher has no {source}")
        if given[source].shape != parameter.shape:
            raise UserError(
                f"the student's {name} is {list(parameter.shape)} and the teacher's {source} is "
                f"{list(given[source].shape)}: copied layers need the same widths, set in "
                f"student_model and teacher_model"
            )
        copied[name] = given[source]
    if student.num_heads != teacher.num_heads:
        raise UserError(
            f"student_model.num_heads={student.num_heads}, but the teacher has "
            f"{teacher.num_heads}: copied layers need as many heads, since parameters cut into "
            f"others mean nothing"
        )
    student.load_state_dict(copied)
