"""Texts that a student has too few positions for are found before its teacher is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from nlg_distill.data.batch import Example
from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.errors import UserError
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import build_model
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer


def refuse_too_long(
    cfg: DictConfig,
    corpus: Path,
    tokenizer_folder: Path,
    further_tests: Path | None,
    *,
    trains_on_gold: bool,
) -> None:
    """Compares gold text with a student's positions: what it is scored on, and what trained on.

    What a teacher writes is not known yet.

    Raises:
        UserError: at a text that is longer.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    with torch.device("meta"):
        model = build_model(cfg.student_model, tokenizer.vocab_size)
    if not model.bounded:
        return
    training: Any = instantiate(cfg.student_training, _convert_="all")
    validation = load_split(corpus, "validation")[: training.validation_pairs]
    scored = [*validation, *load_split(corpus, "test")]
    if further_tests is not None:
        scored += [p for name in cfg.data.further_tests for p in load_split(further_tests, name)]
    examples = encode_pairs(scored, tokenizer)
    if trains_on_gold:
        examples += short_enough(load_split(corpus, "train"), tokenizer, training.max_tokens)
    model.refuse_too_long(examples)


def short_enough(pairs: Sequence[Pair], tokenizer: Tokenizer, max_tokens: int) -> list[Example]:
    """The pairs of which both sides have fewer tokens than that.

    Raises:
        UserError: if there is none.
    """
    train = [
        example
        for example in encode_pairs(pairs, tokenizer)
        if max(len(example.source_ids), len(example.target_ids)) < max_tokens
    ]
    if not train:
        raise UserError(f"no training pair has fewer than max_tokens={max_tokens} tokens")
    return train
