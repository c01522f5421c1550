"""From logits to log-probabilities, the same way for every divergence."""

import torch
from jaxtyping import Float
from torch import Tensor

from nlg_distill.errors import UserError

LOWEST = -1e30  # stands for log 0: exp gives 0, and 0 times it is 0, not NaN


def log_probs(
    logits: Float[Tensor, "*tokens vocab"], temperature: float = 1.0
) -> Float[Tensor, "*tokens vocab"]:
    r"""Log of softmax(logits / $\tau$), in nats, in float32 (float64 stays as it is).

    A probability of zero becomes a very low finite number, so that its product with 0 is 0.

    Args:
        logits: unnormalised scores; `-inf` means probability zero.
        temperature: $\tau > 0$.

    Raises:
        UserError: if `temperature` is not positive.
    """
    if temperature <= 0:
        raise UserError(f"temperature must be positive, got {temperature}")
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return (exact / temperature).log_softmax(dim=-1).clamp(min=LOWEST)


def kl(
    log_p: Float[Tensor, "*tokens vocab"], log_q: Float[Tensor, "*tokens vocab"]
) -> Float[Tensor, "*tokens"]:
    """KL(p || q) of two log-distributions, in nats; 0 log 0 is 0."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
