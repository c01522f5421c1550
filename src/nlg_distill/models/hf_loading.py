"""Models of transformers: made out of a config or a checkpoint, or refused."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from nlg_distill.errors import UserError
from nlg_distill.hugging_face import OPENING, first_line, library, place

TOKENS = {f"{name}_token_id" for name in ("bos", "eos", "pad", "decoder_start")}  # of any model


def config_of(settings: Mapping[str, Any], vocab_size: int) -> Any:
    """The config of a model that starts at random.

    Raises:
        UserError: if `model_type` is missing or unknown, or a setting is none of that type.
    """
    transformers = library()
    given = dict(settings)
    if "model_type" not in given:
        raise UserError("config needs a model_type, such as llama or t5")
    if "vocab_size" in given:
        raise UserError("config.vocab_size is the tokenizer's: leave it out")
    kind = given.pop("model_type")
    try:
        known = transformers.AutoConfig.for_model(kind).to_dict()
    except ValueError as error:
        raise UserError(f"config.model_type={kind} is no model of transformers") from error
    names = TOKENS | set(known) | set(transformers.AutoConfig.for_model(kind).attribute_map)
    if unknown := sorted(set(given) - names):
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f": did you mean {near[0]}?" if near else f", which has {', '.join(sorted(names))}"
        raise UserError(f"config.{unknown[0]} is no setting of {kind}{hint}")
    try:
        return transformers.AutoConfig.for_model(kind, **given, vocab_size=vocab_size)
    except OPENING as error:
        raise UserError(f"config: {first_line(error)}") from error


def build(auto: str, config: Any, options: Mapping[str, Any]) -> Any:
    """A model of this config, its parameters at random, or without values on the meta device."""
    kind = getattr(library(), auto)
    try:
        return kind.from_config(config, dtype=torch.float32, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"{config.model_type}, as a model of this config ({first_line(error)})"
        ) from error


def load(auto: str, path: str, options: Mapping[str, Any]) -> Any:
    """A model with the parameters of a checkpoint, those of a GGUF file dequantised, in float32.

    Raises:
        UserError: if a file is damaged or the checkpoint has not all parameters.
    """
    transformers = library()
    where = place(path)
    if "gguf_file" in where:
        options = {**options, "quantization_config": transformers.GgufConfig(dequantize=True)}
    try:
        model, told = getattr(transformers, auto).from_pretrained(
            **where, **options, dtype=torch.float32, output_loading_info=True
        )
    except OPENING as error:
        raise UserError(f"path={path} cannot be loaded: {first_line(error)}") from error
    if missing := sorted(told["missing_keys"]):
        raise UserError(
            f"path={path} has no values for {len(missing)} parameters of {type(model).__name__}, "
            f"such as {missing[0]}: it is a checkpoint of another model"
        )
    return model
