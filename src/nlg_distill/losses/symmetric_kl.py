"""Weighted sum of forward and reverse KL.

"SymmetricKLLoss" of torchtune, https://github.com/pytorch/torchtune, `modules/loss/kd_losses.py`,
and "mixed" of NeMo-RL. At `alpha` = 0.5, half of Jeffreys' divergence: Jeffreys, "An Invariant Form
for the Prior Probability in Estimation Problems", 1946, https://doi.org/10.1098/rspa.1946.0056.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_probs, tau_squared
from nlg_distill.errors import UserError


def symmetric_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 [\alpha \mathrm{KL}(p \| q) + (1-\alpha) \mathrm{KL}(q \| p)]$, in nats.

    $p$ is the teacher and $q$ the student, both at $\tau$: $\alpha$ weighs the forward KL.

    Deviation: torchtune has no temperature, and leaves out the teacher's own entropy in its
    forward part.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        alpha: weight of forward KL, in (0, 1).
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `alpha` is outside (0, 1) or `temperature` is not positive.
    """
    if not 0 < alpha < 1:
        raise UserError(
            f"alpha must be in (0, 1), got {alpha}: for one direction alone use forward_kl or "
            f"reverse_kl"
        )
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    value = alpha * kl(teacher, student) + (1 - alpha) * kl(student, teacher)
    return tau_squared(temperature, scale_by_temperature) * value
