"""Squared error of hidden states.

Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding", 2020,
https://arxiv.org/abs/1909.10351, the part "Hidden states based distillation".
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import at_least_float32


def hidden_mse(
    student_states: Float[Tensor, "*positions hidden"],
    teacher_states: Float[Tensor, "*positions hidden"],
) -> Float[Tensor, "*positions"]:
    r"""Per-position $\frac{1}{d} \sum_i (h^S_i - h^T_i)^2$, without unit.

    The mean is over the states' width $d$ alone, never over positions.

    Deviation: TinyBERT projects the student's states at any width, `HiddenStateTerm` only where the
    widths differ, as Sun, Cheng, Gan and Liu, "Patient Knowledge Distillation for BERT Model
    Compression", 2019, https://arxiv.org/abs/1908.09355, compare equal ones.

    Args:
        student_states: of the teacher's width, projected if need be; gradients flow through these.
        teacher_states: of the same width.

    Returns:
        One non-negative value for each position, in float32, not reduced and not masked.
    """
    student, teacher = at_least_float32(student_states), at_least_float32(teacher_states)
    return (student - teacher).square().mean(dim=-1)
