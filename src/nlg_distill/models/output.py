"""Where hidden states become logits, for every model and every caller.

A fused projection-and-loss can take the place of `ModelOutput.logits` without touching a model.
"""

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelOutput:
    """What a model says about a batch: hidden states, and the projection to logits."""

    hidden: Float[Tensor, "*tokens hidden"]
    projection: nn.Linear

    @cached_property
    def logits(self) -> Float[Tensor, "*tokens vocab"]:
        """Unnormalised scores over the vocabulary, made once however many terms ask."""
        logits: Tensor = self.projection(self.hidden)
        return logits

    def detach(self) -> "ModelOutput":
        """The same output, cut off from the graph that made it."""
        return ModelOutput(self.hidden.detach(), self.projection)
