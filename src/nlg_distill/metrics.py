"""Scores of written text, and of the model that wrote it."""

import math
import time
from collections.abc import Sequence
from itertools import pairwise

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import nn

from nlg_distill.data.batch import Batch, SpecialIds
from nlg_distill.decoding import Hypothesis, beam_search
from nlg_distill.losses import nll
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.models import GenerationModel
from nlg_distill.progress import track

LARGEST_LOG = 700.0  # beyond, exp overflows: a model that diverged


def corpus_bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of sacreBLEU with its defaults, 0 to 100."""
    return float(BLEU().corpus_score(list(texts), [list(references)]).score)


def text_scores(texts: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """BLEU and chrF with their signatures, length ratio and repetition of written texts.

    `length_ratio` is words written over words of the references. `repetition` is the share of word
    bigrams that occurred before in the same text.
    """
    bleu, chrf = BLEU(), CHRF()
    scores = {
        "bleu": bleu.corpus_score(list(texts), [list(references)]).score,
        "chrf": chrf.corpus_score(list(texts), [list(references)]).score,
    }
    return {
        **scores,
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
        "length_ratio": length_ratio(texts, references),
        "repetition": repetition(texts),
    }


def length_ratio(texts: Sequence[str], references: Sequence[str]) -> float:
    """Words written over words of the references."""
    return sum(len(t.split()) for t in texts) / sum(len(t.split()) for t in references)


def repetition(texts: Sequence[str]) -> float:
    """Share of word bigrams that occurred before in the same text, in [0, 1]."""
    repeated = total = 0
    for text in texts:
        words = text.split()
        bigrams = list(pairwise(words))
        total += len(bigrams)
        repeated += len(bigrams) - len(set(bigrams))
    return repeated / total if total else 0.0


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
