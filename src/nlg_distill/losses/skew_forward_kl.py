"""Skew forward KL.

Ko, Kim, Chen and Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
https://arxiv.org/abs/2402.03898, the definition of the skew KL divergence.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_mixture, log_probs, tau_squared
from nlg_distill.errors import UserError


def skew_forward_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    alpha: float | Float[Tensor, "*#tokens"] = 0.1,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(p \,\|\, \alpha p + (1-\alpha) q)$, in nats.

    $p$ is the teacher and $q$ the student, both at $\tau$. Bounded by $-\tau^2 \log \alpha$;
    forward KL at $\alpha = 0$.

    Deviation: the factor $\tau^2$ is not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        alpha: share of the teacher in what it is compared with, in [0, 1); of each token, if a
            tensor.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `alpha` is outside [0, 1) or `temperature` is not positive.
    """
    if not isinstance(alpha, Tensor) and not 0 <= alpha < 1:
        raise UserError(f"alpha must be in [0, 1), got {alpha}")
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    mixture = log_mixture(teacher, student, alpha)
    return tau_squared(temperature, scale_by_temperature) * kl(teacher, mixture)
