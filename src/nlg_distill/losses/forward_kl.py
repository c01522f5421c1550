"""Forward KL, the original distillation loss.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
https://arxiv.org/abs/1503.02531, section 2. At every target word it is the word-level distillation
of Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 3.1.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.errors import UserError


def forward_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(p_T^\tau \,\|\, p_S^\tau)$, in nats.

    Both distributions are softened by the same $\tau$. The factor $\tau^2$ keeps the gradient's
    size roughly independent of $\tau$. Computed in float32.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary. A score of `-inf` means
            probability zero and adds nothing to the sum.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.

    Returns:
        One non-negative divergence for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive.
    """
    if temperature <= 0:
        raise UserError(f"temperature must be positive, got {temperature}")

    student_log_probs = (student_logits.float() / temperature).log_softmax(dim=-1)
    teacher_log_probs = (teacher_logits.float() / temperature).log_softmax(dim=-1)

    terms = teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)
    terms = terms.masked_fill(teacher_log_probs.isneginf(), 0.0)  # 0 log 0 = 0
    return temperature**2 * terms.sum(dim=-1)
