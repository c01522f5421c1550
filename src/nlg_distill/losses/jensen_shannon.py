"""Generalised Jensen-Shannon divergence.

Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes"
(GKD), 2024, https://arxiv.org/abs/2306.13649, section 2.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import kl, log_mixture, log_probs, tau_squared
from nlg_distill.errors import UserError

SMALLEST = 1e-3


def jensen_shannon(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    beta: float = 0.5,
    normalize: bool = False,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 [\beta \mathrm{KL}(p \| m) + (1-\beta) \mathrm{KL}(q \| m)]$, in nats.

    Here $m = \beta p + (1-\beta) q$, $p$ the teacher and $q$ the student, both at $\tau$: $\beta$
    weighs the teacher. At most $\tau^2$ times the entropy of $(\beta, 1-\beta)$. DistiLLM and
    KDFlow write the mirror image: their beta is 1 minus this one.

    The value vanishes like $\beta(1-\beta)$ at both ends. `normalize` divides by that, which
    makes forward KL of $\beta = 0$ and reverse KL of $\beta = 1$.

    Deviation: the factor $\tau^2$ and `normalize` are not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        beta: share of the teacher in the mixture, in (0, 1); with `normalize` 0, 1 or not nearer
            to them than 1e-3, where float32 would leave few digits.
        normalize: divide by $\beta(1-\beta)$, so that magnitudes do not depend on $\beta$.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `beta` is outside its range, or `temperature` is not positive.
    """
    _check(beta, normalize)
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    value = _divergence(teacher, student, beta, normalize)
    return tau_squared(temperature, scale_by_temperature) * value


def _check(beta: float, normalize: bool) -> None:
    if not 0 <= beta <= 1:
        raise UserError(f"beta must be in [0, 1], got {beta}")
    nearest = min(beta, 1 - beta)
    if normalize and 0 < nearest < SMALLEST:
        raise UserError(
            f"beta={beta} is so near to an end that float32 leaves few digits of the normalised "
            f"divergence: set it to {round(beta)}, or keep {SMALLEST} away from it"
        )
    if beta in (0, 1) and not normalize:
        raise UserError(
            f"beta={beta} makes the divergence zero everywhere: set normalize=true, or use "
            f"{'reverse_kl' if beta else 'forward_kl'}"
        )


def _divergence(
    teacher: Float[Tensor, "*tokens vocab"],
    student: Float[Tensor, "*tokens vocab"],
    beta: float,
    normalize: bool,
) -> Float[Tensor, "*tokens"]:
    """The value of two log-distributions; KL where `beta` is at an end."""
    if beta in (0, 1):
        return kl(student, teacher) if beta else kl(teacher, student)
    mixture = log_mixture(teacher, student, beta)
    value = beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)
    return value / (beta * (1 - beta)) if normalize else value
