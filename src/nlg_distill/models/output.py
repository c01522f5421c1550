"""Where hidden states become logits, for every model and every caller.

A fused projection-and-loss can take the place of `ModelOutput.logits` without touching a model.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

Source = TypeVar("Source")


class OnRequest(Mapping[str, Tensor], Generic[Source]):
    """Tensors by their names, each made when somebody asks for it."""

    def __init__(self, sources: Mapping[str, Source], make: Callable[[Source], Tensor]) -> None:
        """`make` gives the tensor of a name out of what `sources` has for it."""
        self.sources, self.make = sources, make

    def __getitem__(self, name: str) -> Tensor:
        return self.make(self.sources[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Features:
    """A model's inner states, for losses that compare them; each by its name, such as `decoder`.

    `hidden_states`: [batch, positions, hidden]. `attentions`: rows of probabilities,
    [batch, heads, queries, keys]. `values`: what is attended to, [batch, heads, keys, width].
    Names that begin with `encoder` or `cross` have source positions as keys; where one attention
    looks at source and text, the rows of `cross` go on over the positions of the text.
    """

    hidden_states: Mapping[str, Tensor] = field(default_factory=dict)
    attentions: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelOutput:
    """What a model says about a batch: hidden states, and the projection to logits."""

    hidden: Float[Tensor, "*tokens hidden"]
    projection: nn.Module
    features: Features = field(default_factory=Features)

    @cached_property
    def logits(self) -> Float[Tensor, "*tokens vocab"]:
        """Unnormalised scores over the vocabulary, made once however many terms ask."""
        logits: Tensor = self.projection(self.hidden)
        return logits


class OutputProjection(nn.Module):
    """Output embeddings as a linear map: logits are `hidden @ weight.T + bias`.

    A fused projection-and-loss reads `weight` and `bias` in its place.
    """

    def __init__(
        self, head: nn.Linear, extra_bias: Float[Tensor, "1 rows"] | None, vocab_size: int
    ) -> None:
        """Takes the first `vocab_size` rows; `extra_bias` is what some models add to logits."""
        super().__init__()
        self.head, self.extra_bias, self.vocab_size = head, extra_bias, vocab_size

    @property
    def weight(self) -> Float[Tensor, "vocab hidden"]:
        """The output embeddings."""
        weight: Tensor = self.head.weight
        return weight[: self.vocab_size]

    @property
    def bias(self) -> Float[Tensor, " vocab"] | None:
        """What is added to logits, if anything."""
        bias: Tensor | None = self.head.bias
        if self.extra_bias is not None:
            bias = self.extra_bias[0] if bias is None else bias + self.extra_bias[0]
        return None if bias is None else bias[: self.vocab_size]

    def forward(self, hidden: Float[Tensor, "*tokens hidden"]) -> Float[Tensor, "*tokens vocab"]:
        """Logits."""
        return linear(hidden, self.weight, self.bias)


def named(part: str, layers: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What layers give, by the names of `Features`: `decoder.0` of the first, `decoder` last."""
    return {f"{part}.{i}": layer for i, layer in enumerate(layers)} | {part: layers[-1]}


def states(part: str, layers: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Hidden states by their names; `layers` begins with embeddings, and ends as the model does.

    The last layer's own states, before a final norm, are not among them.
    """
    inside = {f"{part}.{i}": layer for i, layer in enumerate(layers[1:-1])}
    return inside | {part: layers[-1]}
