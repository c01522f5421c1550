"""Reverse KL.

Gu, Dong, Wei and Huang, "MiniLLM: Knowledge Distillation of Large Language Models", 2024,
https://arxiv.org/abs/2306.08543.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_probs, tau_squared


def reverse_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(p_S^\tau \,\|\, p_T^\tau)$, in nats.

    Mode-seeking: the student pays where it has mass and the teacher has none.

    Deviation: the paper takes the KL of whole texts that the student writes; this is its
    single-step part at one position of whatever text is trained on, over the whole vocabulary.
    Where the teacher's probability is zero and the student's is not, the true value is infinite;
    here it is very large.

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
    return tau_squared(temperature, scale_by_temperature) * kl(student, teacher)
