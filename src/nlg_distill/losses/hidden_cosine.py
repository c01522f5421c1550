"""Cosine distance of hidden states.

Sanh, Debut, Chaumond and Wolf, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper
and lighter", 2019, https://arxiv.org/abs/1910.01108, section 2.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from nlg_distill.distributions import at_least_float32


def hidden_cosine(
    student_states: Float[Tensor, "*positions hidden"],
    teacher_states: Float[Tensor, "*positions hidden"],
) -> Float[Tensor, "*positions"]:
    r"""Per-position $1 - \cos(h^S, h^T)$, in [0, 2], without unit. Lengths do not matter.

    Deviation: DistilBERT's student has the teacher's width; here another is projected to it.

    Args:
        student_states: of the teacher's width, projected if need be; gradients flow through these.
        teacher_states: of the same width.

    Returns:
        One non-negative value for each position, in float32, not reduced and not masked.
    """
    student, teacher = at_least_float32(student_states), at_least_float32(teacher_states)
    return 1 - cosine_similarity(student, teacher, dim=-1)
