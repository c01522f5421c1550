"""Skew reverse KL.

Ko, Kim, Chen and Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
https://arxiv.org/abs/2402.03898, the definition of the skew reverse KL divergence. Ko et al.,
"DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs", 2025,
https://arxiv.org/abs/2503.07067, whose published code stops the gradient through the mixture.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_mixture, log_probs, tau_squared
from nlg_distill.errors import UserError


def skew_reverse_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    alpha: float | Float[Tensor, "*#tokens"] = 0.1,
    detach_mixture: bool = False,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(q \,\|\, (1-\alpha) p + \alpha q)$, in nats.

    $p$ is the teacher and $q$ the student, both at $\tau$. Bounded by $-\tau^2 \log \alpha$;
    reverse KL at $\alpha = 0$. The gradient flows through both occurrences of $q$, as in the paper.

    Deviation: the factor $\tau^2$ is not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        alpha: share of the student in what it is compared with, in [0, 1); of each token, if a
            tensor.
        detach_mixture: let no gradient flow through the $q$ of the mixture, as DistiLLM-2 does.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `alpha` is outside [0, 1), if it is 0 with `detach_mixture`, or if
            `temperature` is not positive.
    """
    if not isinstance(alpha, Tensor) and not 0 <= alpha < 1:
        raise UserError(f"alpha must be in [0, 1), got {alpha}")
    if detach_mixture and not isinstance(alpha, Tensor) and alpha == 0:
        raise UserError("detach_mixture has no effect with alpha=0: no student is in the mixture")
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    mixture = log_mixture(student.detach() if detach_mixture else student, teacher, alpha)
    return tau_squared(temperature, scale_by_temperature) * kl(student, mixture)
