"""From logits to log-probabilities, alike for every divergence, and to what is drawn from."""

import math

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
    scores = at_least_float32(logits)
    if temperature != 1:
        scores = scores / temperature
    return scores.log_softmax(dim=-1).clamp(min=LOWEST)


def at_least_float32(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The values in float32; float64 stays as it is."""
    return values if values.dtype == torch.float64 else values.float()


def kl(
    log_p: Float[Tensor, "*tokens vocab"], log_q: Float[Tensor, "*tokens vocab"]
) -> Float[Tensor, "*tokens"]:
    """KL(p || q) of two log-distributions, in nats; 0 log 0 is 0."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def entropy(
    log_distribution: Float[Tensor, "*tokens outcomes"],
) -> Float[Tensor, "*tokens"]:
    """Entropy of each distribution, in nats."""
    return -(log_distribution.exp() * log_distribution).sum(dim=-1)


def log_mixture(
    log_p: Float[Tensor, "*tokens vocab"],
    log_q: Float[Tensor, "*tokens vocab"],
    share: float | Float[Tensor, "*#tokens"],
) -> Float[Tensor, "*tokens vocab"]:
    """Log of share * p + (1 - share) * q: probabilities are mixed, not their logs.

    Args:
        log_p: log-distribution.
        log_q: log-distribution over the same outcomes.
        share: of p, in [0, 1]; of each token, if a tensor.
    """
    if isinstance(share, Tensor):
        own, other = share[..., None].log(), (-share[..., None]).log1p()
        return torch.logaddexp(log_p + own, log_q + other).clamp(min=LOWEST)
    if share in (0, 1):
        return log_p if share == 1 else log_q
    mixed = torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))
    return mixed.clamp(min=LOWEST)


def tau_squared(temperature: float, scale_by_temperature: bool) -> float:
    r"""The factor that keeps a gradient's size roughly independent of $\tau$, or 1."""
    return temperature**2 if scale_by_temperature else 1.0


def sharpened(
    logits: Float[Tensor, "*tokens vocab"],
    *,
    sampling_temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*tokens vocab"]:
    """Logits of the distribution that a token is drawn from; `-inf` where it is not drawn.

    Args:
        logits: the model's own.
        sampling_temperature: divides the logits; above 0.
        top_k: draw from the `top_k` most probable tokens alone.
        top_p: draw from the fewest most probable tokens whose mass reaches `top_p`, in (0, 1].
            Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
            https://arxiv.org/abs/1904.09751, section 3.1.

    Raises:
        UserError: if a number is out of its range.
    """
    if sampling_temperature <= 0:
        raise UserError(f"sampling_temperature must be positive, got {sampling_temperature}")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top_p must be in (0, 1], got {top_p}")
    logits = logits / sampling_temperature
    if top_k is not None and top_k < logits.shape[-1]:
        values, indices = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, float("-inf")).scatter(-1, indices, values)
    if top_p is not None:
        ordered, order = logits.sort(dim=-1, descending=True)
        probs = ordered.softmax(dim=-1)
        dropped = probs.cumsum(dim=-1) - probs >= top_p  # the mass before this token is enough
        logits = logits.masked_fill(dropped.scatter(-1, order, dropped), float("-inf"))
    return logits
