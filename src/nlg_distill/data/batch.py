"""Batches: names, shapes and alignment, said once.

This is the only file that shifts labels: `labels[b, t]` is the token that the logits at `[b, t]`
predict, and `decoder_input_ids[b, t]` is the token read just before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

IGNORE_INDEX = -100
"""The label of positions that count nowhere: padding, and what nobody chose in a text that was
written during training: the end that a limit set, and the token that stands first by force."""


@dataclass(frozen=True)
class Example:
    """One source and one target as token ids, without special tokens."""

    example_id: int
    source_ids: Sequence[int]
    target_ids: Sequence[int]


@dataclass(frozen=True)
class SpecialIds:
    """The ids of the tokens that are not text; one id may have several of the parts.

    `first` is what every target begins with, such as its language: a label like any other of a
    given text, and written without asking the model. None where a text begins as it likes.
    """

    pad: int
    begin: int
    end: int
    first: int | None = None

    @property
    def never_written(self) -> list[int]:
        """Padding and begin, unless texts end with the same token."""
        return sorted({self.pad, self.begin} - {self.end})


class Author(IntEnum):
    """Who wrote a target."""

    GOLD = 0
    TEACHER = 1
    STUDENT = 2


@dataclass(frozen=True)
class Batch:
    """Padded examples; padding is on the right and masked. `authors` holds values of `Author`."""

    source_ids: Int[Tensor, "batch source"]
    source_mask: Bool[Tensor, "batch source"]
    decoder_input_ids: Int[Tensor, "batch time"]
    labels: Int[Tensor, "batch time"]
    example_ids: Int[Tensor, " batch"]
    authors: Int[Tensor, " batch"]

    @property
    def target_mask(self) -> Bool[Tensor, "batch time"]:
        """True where a label counts."""
        return self.labels != IGNORE_INDEX

    def only(self, mask: Bool[Tensor, "batch time"]) -> "Batch":
        """The same where no other labels count; what is read stays."""
        return replace(self, labels=self.labels.masked_fill(~mask, IGNORE_INDEX))

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


def collate(
    examples: Sequence[Example], special: SpecialIds, author: Author = Author.GOLD
) -> Batch:
    """Pads examples into one batch and shifts the labels.

    The source ends with the end token. The decoder reads `begin y1 .. yn` and predicts
    `y1 .. yn end`.
    """
    sources = [torch.tensor([*example.source_ids, special.end]) for example in examples]
    source_ids, source_mask = pad_sources(sources, special)
    inputs, labels = _shifted([example.target_ids for example in examples], special)
    return Batch(
        source_ids=source_ids,
        source_mask=source_mask,
        decoder_input_ids=inputs,
        labels=labels,
        example_ids=torch.tensor([example.example_id for example in examples]),
        authors=torch.full((len(examples),), author),
    )


def with_targets(
    batch: Batch,
    targets: Sequence[Sequence[int]],
    special: SpecialIds,
    author: Author,
    *,
    ended: Sequence[bool],
) -> Batch:
    """The same sources with other targets, given as token ids without special tokens.

    The end is a label of those that `ended` alone. Where a length limit cut a text, nobody chose
    to stop, and nothing is to be learned from it. Nor did anybody choose what stands first by
    force.
    """
    device = batch.labels.device
    inputs, labels = _shifted(targets, special)
    for row, (ids, complete) in enumerate(zip(targets, ended, strict=True)):
        if not complete:
            labels[row, len(ids)] = IGNORE_INDEX
        if special.first is not None and ids:
            labels[row, 0] = IGNORE_INDEX
    return replace(
        batch,
        decoder_input_ids=inputs.to(device),
        labels=labels.to(device),
        authors=torch.full_like(batch.authors, author),
    )


def joined(first: Batch, second: Batch, special: SpecialIds) -> Batch:
    """The examples of both, in one batch."""
    padding = {
        "source_ids": special.pad,
        "source_mask": False,
        "decoder_input_ids": special.pad,
        "labels": IGNORE_INDEX,
    }
    columns: dict[str, Tensor] = {}
    for name in (f.name for f in fields(Batch)):
        sides = [getattr(first, name), getattr(second, name)]
        if name in padding:
            width = max(side.shape[1] for side in sides)
            sides = [pad(s, (0, width - s.shape[1]), value=padding[name]) for s in sides]
        columns[name] = torch.cat(sides)
    return Batch(**columns)


def _shifted(
    targets: Sequence[Sequence[int]], special: SpecialIds
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """What the decoder reads, and what it is to predict from it."""
    inputs = [torch.tensor([special.begin, *ids]) for ids in targets]
    labels = [torch.tensor([*ids, special.end]) for ids in targets]
    return (
        pad_sequence(inputs, batch_first=True, padding_value=special.pad),
        pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
    )


def pad_sources(
    sources: Sequence[Int[Tensor, " _"]], special: SpecialIds
) -> tuple[Int[Tensor, "batch source"], Bool[Tensor, "batch source"]]:
    """Source ids padded on the right, and the mask that is True on text."""
    ids = pad_sequence(list(sources), batch_first=True, padding_value=special.pad)
    lengths = torch.tensor([len(source) for source in sources])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]
