"""Distance of sorted probabilities, for vocabularies that differ.

Boizard, El Haddad, Hudelot and Colombo, "Towards Cross-Tokenizer Distillation: the Universal Logit
Distillation Loss for LLMs", 2024, https://arxiv.org/abs/2402.12030, the definition of the ULD loss.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from nlg_distill.distributions import log_probs, tau_squared


def sorted_wasserstein(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens teacher_vocab"],
    *,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \sum_i |p_{(i)} - q_{(i)}|$, in $[0, 2\tau^2]$, no unit.

    $p_{(i)}$ is the i-th largest probability of the teacher at $\tau$, $q_{(i)}$ the student's; the
    smaller vocabulary is padded with zeros. Which token has a probability does not matter, so it
    is zero also where the two sides are permutations of each other, and needs nll beside it.

    Deviations: where tokenizers differ, positions that follow the same text are compared, not the
    n-th with the n-th; the factor $\tau^2$ is not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over any vocabulary; `-inf` is probability zero.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive.
    """
    student = _in_rising_order(log_probs(student_logits, temperature).exp())
    teacher = _in_rising_order(log_probs(teacher_logits, temperature).exp())
    missing = student.shape[-1] - teacher.shape[-1]
    student, teacher = pad(student, (max(0, -missing), 0)), pad(teacher, (max(0, missing), 0))
    difference = (teacher - student).abs().sum(dim=-1)
    return tau_squared(temperature, scale_by_temperature) * difference


def _in_rising_order(values: Float[Tensor, "*tokens vocab"]) -> Float[Tensor, "*tokens vocab"]:
    """Each token's probabilities sorted; on a CPU by NumPy, in a half of PyTorch's time or less."""
    if not values.is_cpu:
        return values.sort(dim=-1).values
    array = values.detach().numpy()
    if not values.requires_grad:
        return torch.from_numpy(np.sort(array, axis=-1))
    return values.gather(-1, torch.from_numpy(array.argsort(axis=-1)))
