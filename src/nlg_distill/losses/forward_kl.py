"""Forward KL, the original distillation loss.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
https://arxiv.org/abs/1503.02531, section 2. At every target word it is the word-level distillation
of Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_probs, tau_squared


def forward_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(p_T^\tau \,\|\, p_S^\tau)$, in nats.

    Both distributions are softened by the same $\tau$. Mass-covering: the student pays where the
    teacher has mass and it has none.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary. A score of `-inf` means
            probability zero and adds nothing to the sum.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$, which keeps the gradient's size roughly
            independent of $\tau$.

    Returns:
        One non-negative divergence for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive.
    """
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    return tau_squared(temperature, scale_by_temperature) * kl(teacher, student)
