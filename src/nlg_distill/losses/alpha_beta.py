"""Alpha-beta divergence.

Wang et al., "ABKD: Pursuing a Proper Allocation of the Probability Mass in Knowledge Distillation
via alpha-beta-Divergence", 2025, https://arxiv.org/abs/2505.04560, the definition of the
alpha-beta-divergence. The limits are those of Cichocki, Cruces and Amari, "Generalized Alpha-Beta
Divergences and Their Application to Robust Nonnegative Matrix Factorization", 2011,
https://doi.org/10.3390/e13010134.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import log_probs, tau_squared
from nlg_distill.errors import UserError

SMALLEST = 1e-3


def alpha_beta(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    alpha: float,
    beta: float,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, D_{AB}^{(\alpha, \beta)}(p \| q)$; in nats where it is a KL.

    $p$ is the teacher and $q$ the student, both at $\tau$, and

    $$D = -\frac{1}{\alpha\beta} \sum_v \Big[ p^\alpha q^\beta - \frac{\alpha}{\alpha+\beta}
    p^{\alpha+\beta} - \frac{\beta}{\alpha+\beta} q^{\alpha+\beta} \Big].$$

    Where a denominator is 0, its limit: forward KL at (1, 0), reverse KL at (0, 1). At (1/2, 1/2)
    it is $2 \sum (\sqrt p - \sqrt q)^2$, four times the squared Hellinger distance; at (1, 1)
    half the squared Euclidean distance. Where $\alpha$, $\beta$ or their sum is negative, or both
    are 0, a probability of zero on one side alone is infinitely far, and so is the value.

    Deviation: the factor $\tau^2$ is not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        alpha: exponent of the teacher.
        beta: exponent of the student.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `alpha`, `beta` or their sum is nearer to 0 than float32 can divide by, but
            not 0; or if `temperature` is not positive.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("alpha + beta", alpha + beta)):
        if 0 < abs(value) < SMALLEST:
            raise UserError(f"{name} must be 0 or at least {SMALLEST} away from it, got {value}")
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    terms = _terms(teacher, student, alpha, beta)
    return tau_squared(temperature, scale_by_temperature) * terms.sum(dim=-1)


def _terms(
    log_p: Float[Tensor, "*tokens vocab"],
    log_q: Float[Tensor, "*tokens vocab"],
    alpha: float,
    beta: float,
) -> Float[Tensor, "*tokens vocab"]:
    """The summands over the vocabulary, none of them negative."""
    if alpha == 0 and beta == 0:
        return 0.5 * (log_p - log_q).square()
    if alpha == 0:  # the same divergence with the sides exchanged
        return _terms(log_q, log_p, beta, alpha)
    if beta == 0:
        p, q = (alpha * log_p).exp(), (alpha * log_q).exp()
        return (p * alpha * (log_p - log_q) - p + q) / alpha**2
    if alpha + beta == 0:
        ratio = alpha * (log_p - log_q)
        return (ratio.exp() - ratio - 1) / alpha**2
    whole = alpha + beta
    product = (alpha * log_p + beta * log_q).exp()
    own = (alpha * (whole * log_p).exp() + beta * (whole * log_q).exp()) / whole
    return (own - product) / (alpha * beta)
