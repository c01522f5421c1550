"""Adaptive KL.

Wu, Tao, Wang, Zhao, Tang, Deng and Wong, "Rethinking Kullback-Leibler Divergence in Knowledge
Distillation for Large Language Models", 2024, https://arxiv.org/abs/2404.02657, the
part "Adaptive Kullback-Leibler divergence".
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nlg_distill.distributions import kl, log_probs, tau_squared
from nlg_distill.errors import UserError

FEW = 64


def adaptive_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    mu: float = 0.5,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 [w \, \mathrm{KL}(p \| q) + (1-w) \, \mathrm{KL}(q \| p)]$, in nats.

    $p$ is the teacher and $q$ the student, both at $\tau$. The head is the teacher's largest
    tokens, as few as have together at least $\mu$ of the mass; the tail is the others. With
    $g = \sum |p - q|$ over each, $w = g_{head} / (g_{head} + g_{tail})$: forward KL counts where
    the head differs more, reverse KL where the tail does. No gradient flows through $w$.

    Deviation: the token that reaches $\mu$ belongs to the head, as the paper's definition says
    and its published code does not; the factor $\tau^2$ is not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        mu: mass of the head, in (0, 1).
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `mu` is outside (0, 1) or `temperature` is not positive.
    """
    if not 0 < mu < 1:
        raise UserError(
            f"mu must be in (0, 1), got {mu}: for one direction alone use forward_kl or reverse_kl"
        )
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    weight = _forward_weight(student.detach().exp(), teacher.detach().exp(), mu)
    value = weight * kl(teacher, student) + (1 - weight) * kl(student, teacher)
    return tau_squared(temperature, scale_by_temperature) * value


def _forward_weight(
    student: Float[Tensor, "*tokens vocab"], teacher: Float[Tensor, "*tokens vocab"], mu: float
) -> Float[Tensor, "*tokens"]:
    """The head's share of the absolute differences; 1/2 where there is none."""
    difference = (teacher - student).abs()
    total = difference.sum(dim=-1)
    in_head = (difference * head_mask(teacher, mu)).sum(dim=-1)
    return torch.where(total > 0, in_head / total.where(total > 0, 1.0), 0.5)


def head_mask(teacher: Float[Tensor, "*tokens vocab"], mu: float) -> Bool[Tensor, "*tokens vocab"]:
    """True at the largest probabilities, as few as sum to `mu`; in the vocabulary's order."""
    mask = _head_among(teacher, mu, min(FEW, teacher.shape[-1]))
    incomplete = (teacher * mask).sum(dim=-1) < mu  # to sort all of every row takes far longer
    mask[incomplete] = _head_among(teacher[incomplete], mu, teacher.shape[-1])
    return mask


def _head_among(
    teacher: Float[Tensor, "*tokens vocab"], mu: float, count: int
) -> Bool[Tensor, "*tokens vocab"]:
    """The head among the `count` largest."""
    largest, token_ids = teacher.topk(count, dim=-1)
    mass_before = largest.cumsum(dim=-1) - largest
    # The mask is in sorted order; it must go back to where the tokens are.
    return torch.zeros_like(teacher, dtype=torch.bool).scatter(-1, token_ids, mass_before < mu)
