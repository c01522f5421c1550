"""Texts that a model writes after a source, after a beginning, or after both."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from nlg_distill.data.batch import Batch, Example, SpecialIds
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.decoding import LengthLimit
from nlg_distill.models import GenerationModel
from nlg_distill.targets.policy import Beam, Sampling

BATCH_TOKENS = 2000
CONTINUATION = LengthLimit(ratio=0.0, extra=100)
"""The limit of what follows a given beginning."""


def go_on(
    model: GenerationModel,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    begun: Sequence[str] | None,
    writing: Beam | Sampling,
    limit: LengthLimit,
) -> list[str]:
    """The first text that is written for each source, with what it was given to begin with."""
    source_ids = tokenizer.encode_sources(sources)
    given = [[] for _ in sources] if begun is None else tokenizer.encode_targets(begun)
    device = next(model.parameters()).device
    whole: dict[int, list[int]] = {}
    for batch, beginning in _batches(source_ids, given, tokenizer.special, device):
        found = writing.write(model, batch, tokenizer.special, limit=limit, beginning=beginning)
        for i, hypotheses in zip(batch.example_ids.tolist(), found, strict=True):
            whole[i] = [*given[i], *hypotheses[0].token_ids]
    return tokenizer.decode([whole[i] for i in range(len(sources))])


def beginning_of(text: str) -> str:
    """The first words of a text: half of it, five at most."""
    words = text.split()
    return " ".join(words[: min(5, len(words) // 2)])


def _batches(
    sources: Sequence[Sequence[int]],
    begun: Sequence[Sequence[int]],
    special: SpecialIds,
    device: torch.device,
) -> Iterator[tuple[Batch, Int[Tensor, "sources given"]]]:
    """Batches of sources, and what their texts begin with, which is of one length in each."""
    for length in sorted({len(ids) for ids in begun}):
        examples = [
            Example(i, source, [])
            for i, (source, ids) in enumerate(zip(sources, begun, strict=True))
            if len(ids) == length
        ]
        longest = max(len(example.source_ids) for example in examples) + 1
        for batch in fixed_batches(examples, special, max(BATCH_TOKENS, longest), device):
            rows = [list(begun[i]) for i in batch.example_ids.tolist()]
            yield batch, torch.tensor(rows, dtype=torch.long, device=device).view(len(rows), length)
