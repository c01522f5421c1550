"""Standardised logits.

Sun, Ren, Li, Wang and Cao, "Logit Standardization in Knowledge Distillation", 2024,
https://arxiv.org/abs/2403.01427, algorithm 1.
"""

from jaxtyping import Float
from torch import Tensor

from nlg_distill.distributions import LOWEST, at_least_float32

EPSILON = 1e-7


def standardize_logits(
    logits: Float[Tensor, "*tokens vocab"],
) -> Float[Tensor, "*tokens vocab"]:
    r"""Per-token z-score $(z - \bar z) / \sigma(z)$ over the vocabulary.

    Frees the student from the teacher's scale: a divergence of standardised logits is 0 also where
    the student's are a stretched copy of the teacher's.
    $\sigma$ is the population's. Tokens of probability zero keep it and count in neither moment.

    Args:
        logits: unnormalised scores; `-inf` means probability zero.

    Returns:
        Scores of mean 0 and standard deviation 1, in float32 (float64 stays as it is).
    """
    exact = at_least_float32(logits)
    possible = exact > LOWEST
    count = possible.sum(dim=-1, keepdim=True)
    known = exact.where(possible, 0.0)
    mean = known.sum(dim=-1, keepdim=True) / count
    centred = (known - mean).where(possible, 0.0)
    deviation = (centred.square().sum(dim=-1, keepdim=True) / count + EPSILON**2).sqrt()
    return (centred / deviation).where(possible, LOWEST)
