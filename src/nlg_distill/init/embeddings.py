"""The student starts with the teacher's embeddings, and at random otherwise."""

import torch
from jaxtyping import Float
from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.init.from_teacher import FromTeacher, Report, refuse_adapters
from nlg_distill.models import GenerationModel


class Embeddings(FromTeacher):
    """Takes over the embeddings, shared as they are, or projected to fewer columns.

    Where the student is narrower, its rows are the teacher's along their principal components,
    scaled to the spread that the student's own rows had: what is near stays near. An output layer
    that is tied to the embeddings follows them. Of more rows, as checkpoints are padded with, the
    first are taken.
    """

    trained = False

    def hand_over(self, student: GenerationModel, teacher: GenerationModel) -> Report:
        """Changes the student's embeddings.

        Raises:
            UserError: if the teacher has none of these names, fewer columns or fewer rows.
        """
        refuse_adapters(student)
        given, own = teacher.state_dict(), student.state_dict()
        report: Report = {}
        for name in student.token_tables:
            parameter, value = own[name], given.get(name)
            if value is None or value.shape[0] < parameter.shape[0]:
                raise UserError(f"init=embeddings: the teacher has no {name} of as many tokens")
            if value.shape[1] < parameter.shape[1]:
                raise UserError(
                    f"the student's {name} has {parameter.shape[1]} columns and the teacher's "
                    f"{value.shape[1]}: embeddings can be made narrower, not wider"
                )
            rows = value[: len(parameter)]
            shared = rows.shape == parameter.shape
            own[name] = rows if shared else projected(rows, parameter)
            report[name] = name if shared else f"{name} {[*value.shape]} projected"
        student.load_state_dict(own)
        return report


def projected(
    rows: Float[Tensor, "vocab teacher_width"], like: Float[Tensor, "vocab width"]
) -> Float[Tensor, "vocab width"]:
    """The rows along their first principal components, with the spread of `like`."""
    if rows.is_meta:
        return like
    centred = rows.float() - rows.float().mean(dim=0)
    _, components = torch.linalg.eigh(centred.T @ centred)  # in rising order
    narrow = centred @ components[:, -like.shape[1] :]
    scaled: Tensor = narrow * like.float().std() / narrow.std()
    return scaled.to(like.dtype)
