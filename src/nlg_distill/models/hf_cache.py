"""What models of transformers keep of what they read, for several hypotheses."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from nlg_distill.errors import UserError


@dataclass(frozen=True)
class CachedState:
    """A cache of transformers, and what else is kept of every hypothesis.

    Rows are sources times beam, those of a source together; `rows` has tensors by rows.
    """

    cache: Any
    rows: Mapping[str, Tensor]
    beam: int = 1

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "CachedState":
        """Hypothesis `b` of source `s` continues from its hypothesis `parents[s, b]`."""
        sources = torch.arange(len(parents), device=parents.device)[:, None]
        chosen = self._select((sources * self.beam + parents).flatten())
        return replace(chosen, beam=parents.shape[1])

    def keep(self, sources: Int[Tensor, " kept"]) -> "CachedState":
        """The state of these sources alone, in this order."""
        beam = torch.arange(self.beam, device=sources.device)
        return self._select((sources[:, None] * self.beam + beam).flatten())

    def _select(self, rows: Int[Tensor, " rows"]) -> "CachedState":
        cache = copied(self.cache)
        if cache is not None:
            cache.reorder_cache(rows)
        kept = {name: tensor[rows] for name, tensor in self.rows.items()}
        return replace(self, cache=cache, rows=kept)


def copied(cache: Any) -> Any:
    """A cache that grows on its own; the keys and values of both are the same until then.

    Raises:
        UserError: if it holds other things than keys and values, which models overwrite.
    """
    if cache is None:
        return None
    from transformers.cache_utils import DynamicLayer, EncoderDecoderCache

    another = copy.copy(cache)
    if isinstance(cache, EncoderDecoderCache):
        another.self_attention_cache = copied(cache.self_attention_cache)
        another.cross_attention_cache = copied(cache.cross_attention_cache)
        another.is_updated = dict(cache.is_updated)
        return another
    if other := [layer for layer in cache.layers if not isinstance(layer, DynamicLayer)]:
        raise UserError(
            f"this model keeps a {type(other[0]).__name__} of what it read, which cannot be kept "
            f"for several texts: choose one with attention in all layers"
        )
    another.layers = [copy.copy(layer) for layer in cache.layers]
    return another
