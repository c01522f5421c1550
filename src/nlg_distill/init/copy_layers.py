"""The student starts with some of the teacher's layers: shrink and fine-tune.

Shleifer and Rush, "Pre-trained Summarization Distillation", 2020, https://arxiv.org/abs/2010.13002,
section 3 (SFT): a student of the teacher's width takes over a subset of its layers.
"""

from collections.abc import Sequence

from nlg_distill.errors import UserError
from nlg_distill.init.from_teacher import FromTeacher, Report, sources
from nlg_distill.models import GenerationModel


class CopyLayers(FromTeacher):
    """Takes over everything that is not a layer, and for each layer one of the teacher's."""

    def __init__(self, *, layers: str | Sequence[int]) -> None:
        """`layers` is `spaced`, `first`, `last`, or for each layer the teacher's, from 0.

        Encoder and decoder choose apart; numbers are for those of so many layers, where one as deep
        as the teacher's may be taken whole (a student 12-3 of a teacher 12-12: `[0, 6, 11]`).
        """
        self.layers = layers if isinstance(layers, str) else list(layers)

    def hand_over(self, student: GenerationModel, teacher: GenerationModel) -> Report:
        """Copies the teacher's parameters.

        Raises:
            UserError: if there are not as many layers as the student has, the teacher has no such
                layer, or a parameter's shape or the number of heads differs.
        """
        found = sources(student, teacher, self.layers)
        for name, parameter in student.state_dict().items():
            source, value = found[name]
            if value.shape != parameter.shape:
                raise UserError(
                    f"the student's {name} is {list(parameter.shape)} and the teacher's {source} "
                    f"is {list(value.shape)}: copied layers need the same widths, and as many "
                    f"tokens and positions, set in student_model and teacher_model "
                    f"(student_model.width=1 with model@student_model=from_teacher); "
                    f"init=slice_width cuts a student of smaller widths out of its teacher"
                )
        for name, number in student.heads.items():
            if number != teacher.heads[name]:
                raise UserError(
                    f"student_model's {name} is {number}, but the teacher has "
                    f"{teacher.heads[name]}: copied layers need as many heads, since parameters "
                    f"cut into others mean nothing"
                )
        student.load_state_dict({name: value for name, (_, value) in found.items()})
        return {name: source for name, (source, _) in found.items()}
