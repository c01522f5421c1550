"""Attention with several heads, and the positions of tokens.

Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, sections 3.2
and 3.5.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Attended:
    """What an attention looked at. `mask` is True on keys to be seen.

    Without a mask the last query sees all keys, and each query before it one less.
    """

    queries: Float[Tensor, "batch heads queries width"]
    keys: Float[Tensor, "batch heads keys width"]
    values: Float[Tensor, "batch heads keys width"]
    mask: Bool[Tensor, "batch keys"] | None

    @cached_property
    def rows(self) -> Float[Tensor, "batch heads queries keys"]:
        """How much of each key's value every query takes."""
        scores = self.queries / math.sqrt(self.queries.shape[-1]) @ self.keys.transpose(-1, -2)
        if self.mask is None:
            queries, keys = scores.shape[-2:]
            seen = torch.ones_like(scores[0, 0], dtype=torch.bool).tril(keys - queries)
        else:
            seen = self.mask[:, None, None]
        return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)

    def mixture(self) -> Float[Tensor, "batch heads queries width"]:
        """The sum of the values that each query takes."""
        if self.keys.is_cpu and self.keys.dtype == torch.bfloat16:
            return self.rows @ self.values  # the fused kernel's gradient takes five times as long
        return scaled_dot_product_attention(
            self.queries,
            self.keys,
            self.values,
            attn_mask=None if self.mask is None else self.mask[:, None, None],
            is_causal=self.mask is None and self.queries.shape[-2] > 1,
        )


class Attention(nn.Module):
    """Attention with several heads, each on its share of the width."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def read(
        self, states: Float[Tensor, "batch keys hidden"]
    ) -> Float[Tensor, "2 batch heads keys width"]:
        """Keys and values of what may be looked at."""
        both: Tensor = self.key_value(states)
        cut = both.reshape(*both.shape[:2], 2, self.num_heads, -1)
        return cut.permute(2, 0, 3, 1, 4)

    def forward(
        self,
        states: Float[Tensor, "batch queries hidden"],
        read: Float[Tensor, "2 batch heads keys width"],
        mask: Bool[Tensor, "batch keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries hidden"], Attended]:
        """What the states find among keys and values; for `mask` see `Attended`."""
        queries = self.query(states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        keys, values = read
        attended = Attended(queries, keys, values, mask)
        return self.output(attended.mixture().transpose(1, 2).flatten(2)), attended


def sinusoids(
    positions: Int[Tensor, " time"], hidden_size: int
) -> Float[Tensor, "time hidden_size"]:
    """Sines, then cosines, of the positions at rates from 1 down to nearly 1 / 10,000."""
    exponents = torch.arange(0, hidden_size, 2, device=positions.device) / hidden_size
    angles = positions[:, None] * 10_000.0**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
