"""Attention with several heads, what it keeps and shows, and the positions of tokens.

Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, sections 3.2
and 3.5.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nlg_distill.models.output import Features, OnRequest


@dataclass(frozen=True)
class Attended:
    """What an attention looked at. `mask` is True on keys to be seen, by all queries or by each.

    Without a mask the last query sees all keys, and each query before it one less.
    """

    queries: Float[Tensor, "batch heads queries width"]
    keys: Float[Tensor, "batch heads keys width"]
    values: Float[Tensor, "batch heads keys width"]
    mask: Bool[Tensor, "#batch #queries keys"] | None

    @property
    def seen(self) -> Bool[Tensor, "#batch #queries keys"]:
        """The mask, also where it is not given."""
        if self.mask is not None:
            return self.mask
        queries, keys = self.queries.shape[-2], self.keys.shape[-2]
        whole = torch.ones(1, queries, keys, dtype=torch.bool, device=self.keys.device)
        return whole.tril(keys - queries)

    @cached_property
    def rows(self) -> Float[Tensor, "batch heads queries keys"]:
        """How much of each key's value every query takes."""
        scores = self.queries / math.sqrt(self.queries.shape[-1]) @ self.keys.transpose(-1, -2)
        return scores.masked_fill(~self.seen[:, None], float("-inf")).softmax(dim=-1)

    def mixture(self) -> Float[Tensor, "batch heads queries width"]:
        """The sum of the values that each query takes."""
        if self.keys.is_cpu and self.keys.dtype == torch.bfloat16:
            return self.rows @ self.values  # fused, forward and gradient take five times as long
        asked = (self.queries, self.keys, self.values)
        queries, keys = self.queries.shape[-2], self.keys.shape[-2]
        if self.mask is None and queries in (1, keys):
            return scaled_dot_product_attention(*asked, is_causal=queries > 1)
        return scaled_dot_product_attention(*asked, attn_mask=self.seen[:, None])


class Attention(nn.Module):
    """Attention with several heads, each on its share of the width."""

    def __init__(self, hidden_size: int, num_heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=bias)
        self.output = nn.Linear(hidden_size, hidden_size, bias=bias)

    def read(
        self, states: Float[Tensor, "batch keys hidden"]
    ) -> Float[Tensor, "2 batch heads keys width"]:
        """Keys and values of what may be looked at."""
        both: Tensor = self.key_value(states)
        cut = both.reshape(*both.shape[:2], 2, self.num_heads, -1)
        return cut.permute(2, 0, 3, 1, 4)

    def ask(
        self, states: Float[Tensor, "batch queries hidden"]
    ) -> Float[Tensor, "batch heads queries width"]:
        """Queries of what looks."""
        queries: Tensor = self.query(states)
        return queries.reshape(*queries.shape[:2], self.num_heads, -1).transpose(1, 2)

    def ask_itself(
        self,
        states: Float[Tensor, "batch time hidden"],
        waves: Float[Tensor, "#batch time width"] | None,
    ) -> tuple[Float[Tensor, "batch heads time width"], Float[Tensor, "2 batch heads time width"]]:
        """Queries, and keys and values; `rotated` where there are `waves`, of their positions."""
        queries, read = self.ask(states), self.read(states)
        if waves is None:
            return queries, read
        keys, values = read
        return rotated(queries, waves), torch.stack([rotated(keys, waves), values])

    def find(
        self,
        queries: Float[Tensor, "batch heads queries width"],
        read: Float[Tensor, "2 batch heads keys width"],
        mask: Bool[Tensor, "#batch #queries keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries hidden"], Attended]:
        """What the queries find among keys and values; for `mask` see `Attended`."""
        keys, values = read
        attended = Attended(queries, keys, values, mask)
        return self.output(attended.mixture().transpose(1, 2).flatten(2)), attended

    def forward(
        self,
        states: Float[Tensor, "batch queries hidden"],
        read: Float[Tensor, "2 batch heads keys width"],
        mask: Bool[Tensor, "#batch #queries keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries hidden"], Attended]:
        """What the states find among keys and values; for `mask` see `Attended`."""
        return self.find(self.ask(states), read, mask)


@dataclass(frozen=True)
class KeyValueState:
    """Keys and values of each layer: those read in the source, those of written tokens.

    Those of a source are held once, however many hypotheses it has.
    """

    mask: Bool[Tensor, "sources source"]
    read: tuple[Float[Tensor, "2 sources heads source width"], ...]
    written: tuple[Float[Tensor, "2 sources beam heads time width"], ...]

    @classmethod
    def of(
        cls,
        mask: Bool[Tensor, "sources source"],
        read: tuple[Float[Tensor, "2 sources heads source width"], ...],
    ) -> "KeyValueState":
        """One hypothesis per source, of which nothing is written."""
        return cls(mask, read, tuple(layer[:, :, None, :, :0] for layer in read))

    @property
    def length(self) -> int:
        """How many tokens of each hypothesis are written."""
        return self.written[0].shape[-2]

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "KeyValueState":
        """Hypothesis `b` of source `s` continues from its hypothesis `parents[s, b]`."""
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        return replace(self, written=tuple(layer[:, rows, parents] for layer in self.written))

    def keep(self, sources: Int[Tensor, " kept"]) -> "KeyValueState":
        """The state of these sources alone, in this order."""
        return KeyValueState(
            mask=self.mask[sources],
            read=tuple(layer[:, sources] for layer in self.read),
            written=tuple(layer[:, sources] for layer in self.written),
        )


@dataclass(frozen=True)
class Trace:
    """What the layers leave for `Features`, by its names there."""

    hidden: dict[str, Tensor] = field(default_factory=dict)
    attended: dict[str, Attended] = field(default_factory=dict)

    def features(self) -> Features:
        """The features; rows of attention are made when a loss reads them."""
        return Features(
            hidden_states=self.hidden,
            attentions=OnRequest(self.attended, lambda attended: attended.rows),
            values={name: attended.values for name, attended in self.attended.items()},
        )


def sinusoids(positions: Int[Tensor, "*rows time"], size: int) -> Float[Tensor, "*rows time size"]:
    """Sines, then cosines, of the positions at rates from 1 down to nearly 1 / 10,000."""
    exponents = torch.arange(0, size, 2, device=positions.device) / size
    angles = positions[..., None] * 10_000.0**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotated(
    states: Float[Tensor, "batch heads time width"], waves: Float[Tensor, "#batch time width"]
) -> Float[Tensor, "batch heads time width"]:
    """Queries or keys, pairs of whose features are turned by the angles of their positions.

    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
    https://arxiv.org/abs/2104.09864, section 3.2: the product of a query and a key then depends on
    how far they are apart. `waves` are the `sinusoids` of the positions.

    Deviation: a feature of the first half is turned with one of the second, as in GPT-NeoX, where
    the paper turns neighbours.
    """
    sines, cosines = waves[:, None].chunk(2, dim=-1)
    first, second = states.chunk(2, dim=-1)
    turned = [first * cosines - second * sines, second * cosines + first * sines]
    return torch.cat(turned, dim=-1).to(states)
