"""Texts that a model has too few positions for are found before anything is trained for it."""

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
    validates: bool,
    trains: bool,
) -> None:
    """Compares gold text with the positions of the model that is scored on it.

    Args:
        cfg: of the run.
        corpus: its artifact.
        tokenizer_folder: the artifact of the model's tokenizer.
        further_tests: the artifact of further test sets, if there are any.
        validates: whether the validation text counts too; else the training itself looks at it.
        trains: whether the training text does. What a teacher writes is not known yet.

    Raises:
        UserError: at a text that is longer.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    with torch.device("meta"):
        model = build_model(cfg[f"{cfg.stage}_model"], tokenizer.vocab_size)
    if not model.bounded:
        return
    training: Any = instantiate(cfg[f"{cfg.stage}_training"], _convert_="all")
    pairs = load_split(corpus, "test")
    if further_tests is not None:
        pairs += [p for name in cfg.data.further_tests for p in load_split(further_tests, name)]
    if validates:
        pairs += load_split(corpus, "validation")[: training.validation_pairs]
    examples = encode_pairs(pairs, tokenizer)
    if trains:
        examples += short_enough(load_split(corpus, "train"), tokenizer, training.max_tokens)
    try:
        model.refuse_too_long(examples)
    except UserError as error:
        raise UserError(f"{cfg.stage}_model: {error}") from error


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
