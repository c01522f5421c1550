"""Scores of a model, and its texts; what texts are worth is in `text_metrics`."""

import math
import time
from collections.abc import Sequence

import torch
from torch import nn

from nlg_distill.data.batch import Batch, SpecialIds
from nlg_distill.decoding import Hypothesis, beam_search, sample
from nlg_distill.losses import nll
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.models import GenerationModel
from nlg_distill.progress import track

LARGEST_LOG = 700.0  # beyond, exp overflows: a model that diverged


def write_texts(
    model: GenerationModel, batches: Sequence[Batch], special: SpecialIds, *, beam_size: int
) -> tuple[dict[int, Hypothesis], float]:
    """The best text for each example id, and the seconds that decoding alone took."""
    best: dict[int, Hypothesis] = {}
    begin = time.perf_counter()
    for batch in track(batches, f"decode, beam {beam_size}", len(batches)):
        found = beam_search(
            model, batch.source_ids, batch.source_mask, special, beam_size=beam_size
        )
        for number, hypotheses in zip(batch.example_ids.tolist(), found, strict=True):
            best[number] = hypotheses[0]
    return best, time.perf_counter() - begin


def draw_texts(
    model: GenerationModel, batches: Sequence[Batch], special: SpecialIds
) -> dict[int, Hypothesis]:
    """A text for each example id, drawn at temperature 1; the same whenever it is asked for."""
    drawn: dict[int, Hypothesis] = {}
    generator = torch.Generator(batches[0].source_ids.device).manual_seed(1)
    for batch in track(batches, "draw", len(batches)):
        found = sample(model, batch.source_ids, batch.source_mask, special, generator=generator)
        for number, hypotheses in zip(batch.example_ids.tolist(), found, strict=True):
            drawn[number] = hypotheses[0]
    return drawn


def mode_probability(hypotheses: Sequence[Hypothesis]) -> float:
    """Mean probability that the model gives its own greedy text, in [0, 1].

    p(t = y-hat) in table 1 of Kim and Rush, "Sequence-Level Knowledge Distillation", 2016,
    https://arxiv.org/abs/1606.07947.
    """
    return sum(math.exp(h.log_prob) for h in hypotheses) / len(hypotheses)


def likelihood(
    model: GenerationModel, batches: Sequence[Batch], references: Sequence[str]
) -> dict[str, float]:
    """Perplexity per token of the gold targets, and bits per byte of their text."""
    total, tokens = 0.0, 0
    for batch in batches:
        values = nll(model(batch).logits, batch.labels)
        total += float(sum_over_targets(values, batch.target_mask))
        tokens += int(batch.num_target_tokens)
    size = sum(len(text.encode()) for text in references)
    return {
        "perplexity": math.exp(min(total / tokens, LARGEST_LOG)),
        "bits_per_byte": total / math.log(2) / size,
    }


def num_parameters(model: nn.Module) -> int:
    """Parameters of the model, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
