"""Total variation distance.

Wen, Li, Du and Mou, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023,
https://arxiv.org/abs/2307.15190, the part "TVD distillation".
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import log_probs, tau_squared


def total_variation(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\frac{\tau^2}{2} \sum_v |p_T^\tau(v) - p_S^\tau(v)|$, in $[0, \tau^2]$, no unit.

    Symmetric. Where both sides are equal it has a kink; the gradient there is 0.

    Deviation: the paper's is over whole texts; the factor $\tau^2$ is not in it.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive.
    """
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    difference = (teacher.exp() - student.exp()).abs().sum(dim=-1)
    return 0.5 * tau_squared(temperature, scale_by_temperature) * difference
