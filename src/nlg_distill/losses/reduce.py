"""The only reduction: sums over target tokens.

The division is made once per optimizer step, by the target tokens of all its micro-batches and
ranks (`modules/generation.py`), so that a loss does not depend on how a batch is split.
"""

from jaxtyping import Bool, Float
from torch import Tensor


def sum_over_targets(
    values: Float[Tensor, "*tokens"], target_mask: Bool[Tensor, "*tokens"]
) -> Float[Tensor, ""]:
    """Sum of the values where the mask is True; what stands elsewhere, NaN included, is ignored."""
    return values.masked_fill(~target_mask, 0.0).sum()
