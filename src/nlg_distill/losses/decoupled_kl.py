"""Decoupled distillation.

Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation" (DKD), 2022,
https://arxiv.org/abs/2203.08679: its TCKD is the label's part, its NCKD that of the others.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nlg_distill.distributions import LOWEST, kl, log_probs, tau_squared
from nlg_distill.errors import UserError


def decoupled_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    labels: Int[Tensor, "*tokens"],
    *,
    alpha: float,
    beta: float,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 [\alpha \mathrm{KL}(b_T \| b_S) + \beta \mathrm{KL}(\hat p \| \hat q)]$.

    In nats. $b = (p(y), 1 - p(y))$ is the split into the label $y$ and everything else, $\hat p$
    and $\hat q$ are teacher and student over everything else, renormalised; all at $\tau$. With
    $\alpha = 1$ and $\beta = 1 - p_T(y)$ it would be forward KL, so a constant $\beta$ gives the
    other tokens the more room, the surer the teacher is of the label.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        labels: the token to predict at each position.
        alpha: weight of the label's part, at least 0.
        beta: weight of the other tokens' part, at least 0 and not 0 with `alpha`.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if a weight is negative, both are 0, or `temperature` is not positive.
    """
    if alpha < 0 or beta < 0 or alpha + beta == 0:
        raise UserError(
            f"alpha and beta must be at least 0 and not both 0, got alpha={alpha}, beta={beta}"
        )
    student_split, student_others = _decoupled(log_probs(student_logits, temperature), labels)
    teacher_split, teacher_others = _decoupled(log_probs(teacher_logits, temperature), labels)
    value = alpha * kl(teacher_split, student_split) + beta * kl(teacher_others, student_others)
    return tau_squared(temperature, scale_by_temperature) * value


def _decoupled(
    log_p: Float[Tensor, "*tokens vocab"], labels: Int[Tensor, "*tokens"]
) -> tuple[Float[Tensor, "*tokens 2"], Float[Tensor, "*tokens vocab"]]:
    """Logs of the label against the others, and of the others among themselves."""
    index = labels[..., None]
    others = log_p.scatter(-1, index, LOWEST)
    rest = others.logsumexp(dim=-1, keepdim=True)
    split = torch.cat([log_p.gather(-1, index), rest], dim=-1).clamp(min=LOWEST)
    return split, others.log_softmax(dim=-1).clamp(min=LOWEST)
