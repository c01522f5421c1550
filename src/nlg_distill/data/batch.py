"""Batches: names, shapes and alignment, said once.

This is the only file that shifts labels: `labels[b, t]` is the token that the logits at `[b, t]`
predict, and `decoder_input_ids[b, t]` is the token read just before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORE_INDEX = -100
"""The label of positions that count nowhere: padding, and the prompt of a decoder-only model."""


@dataclass(frozen=True)
class Example:
    """One source and one target as token ids, without special tokens."""

    example_id: int
    source_ids: Sequence[int]
    target_ids: Sequence[int]


@dataclass(frozen=True)
class SpecialIds:
    """The ids of the tokens that are not text."""

    pad: int
    begin: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Padded examples; padding is on the right and masked."""

    source_ids: Int[Tensor, "batch source"]
    source_mask: Bool[Tensor, "batch source"]
    decoder_input_ids: Int[Tensor, "batch time"]
    labels: Int[Tensor, "batch time"]
    example_ids: Int[Tensor, " batch"]

    @property
    def target_mask(self) -> Bool[Tensor, "batch time"]:
        """True where a label counts."""
        return self.labels != IGNORE_INDEX

    @property
    def num_target_tokens(self) -> Int[Tensor, ""]:
        """Labels that count, end of sentence included."""
        return self.target_mask.sum()

    @property
    def padding_share(self) -> float:
        """Share of source and target positions that hold padding, in [0, 1]."""
        used = self.source_mask.sum() + self.num_target_tokens
        return 1.0 - used.item() / (self.source_mask.numel() + self.labels.numel())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        moved = (getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self))
        return type(self)(*moved)


def collate(examples: Sequence[Example], special: SpecialIds) -> Batch:
    """Pads examples into one batch and shifts the labels.

    The source ends with the end token. The decoder reads `begin y1 .. yn` and predicts
    `y1 .. yn end`.
    """
    sources = [torch.tensor([*example.source_ids, special.end]) for example in examples]
    inputs = [torch.tensor([special.begin, *example.target_ids]) for example in examples]
    labels = [torch.tensor([*example.target_ids, special.end]) for example in examples]
    source_ids, source_mask = pad_sources(sources, special)
    return Batch(
        source_ids=source_ids,
        source_mask=source_mask,
        decoder_input_ids=pad_sequence(inputs, batch_first=True, padding_value=special.pad),
        labels=pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
        example_ids=torch.tensor([example.example_id for example in examples]),
    )


def pad_sources(
    sources: Sequence[Int[Tensor, " _"]], special: SpecialIds
) -> tuple[Int[Tensor, "batch source"], Bool[Tensor, "batch source"]]:
    """Source ids padded on the right, and the mask that is True on text."""
    ids = pad_sequence(list(sources), batch_first=True, padding_value=special.pad)
    lengths = torch.tensor([len(source) for source in sources])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]
