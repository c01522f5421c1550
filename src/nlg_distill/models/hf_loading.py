"""Models of transformers: made out of a config or a checkpoint, or refused."""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.hugging_face import OPENING, first_line, library, place
from nlg_distill.models.hf_settings import OF_A_FILE, TOKENS

LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
"""The number of a layer in a parameter's name."""
ANEW = "save the checkpoint anew, or fetch it again"


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
    if useless := sorted(OF_A_FILE & set(given)):
        raise UserError(f"config.{useless[0]} changes nothing of a model made here: leave it out")
    try:
        known = transformers.AutoConfig.for_model(kind).to_dict()
    except (ValueError, TypeError) as error:
        raise UserError(f"config.model_type={kind} is no model of transformers") from error
    names = TOKENS | set(known) | set(transformers.AutoConfig.for_model(kind).attribute_map)
    if unknown := sorted(set(given) - names):
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f": did you mean {near[0]}?" if near else f", which has {', '.join(sorted(names))}"
        raise UserError(f"config.{unknown[0]} is no setting of {kind}{hint}")

    def make(chosen: Mapping[str, Any]) -> Any:
        return transformers.AutoConfig.for_model(kind, **chosen, vocab_size=vocab_size)

    try:
        return make(given)
    except _refusals() as error:
        raise UserError(f"config{_culprit(given, make)}: {_said(error)}") from error


def build(
    auto: str, config: Any, options: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> Any:
    """A model of this config, its parameters at random, or without values on the meta device.

    Raises:
        UserError: if transformers makes none of it; it says of which of the settings, from which
            the config was made, if that can be told.
    """
    kind = getattr(library(), auto)

    def make(chosen: Mapping[str, Any]) -> Any:
        return kind.from_config(config_of(chosen, config.vocab_size), **options)

    try:
        return kind.from_config(config, dtype=torch.float32, **options)
    except _refusals() as error:
        where = "" if settings is None else _culprit(settings, make)
        raise UserError(
            f"{config.model_type}, as a model of this config{where} ({_said(error)})"
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """What transformers raises at settings that make no model."""
    from huggingface_hub.errors import StrictDataclassError

    others = (TypeError, AttributeError, ZeroDivisionError, AssertionError)
    return (*OPENING, *others, StrictDataclassError)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _culprit(given: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Any]) -> str:
    """The first setting that need only be left out, as `.name=value`; empty if there is none."""
    for name in given:
        others = {other: value for other, value in given.items() if other != name}
        with suppress(UserError, *_refusals()), torch.device("meta"):
            make(others)
            return f".{name}={given[name]}"
    return ""


def refuse_damaged(path: str) -> None:
    """Opens the weights of a folder, without reading one.

    Raises:
        UserError: if a file was cut off, is none of safetensors, or is not there although the
            folder's index names it.
    """
    index = Path(path) / "model.safetensors.index.json"
    if index.is_file() and not index.with_name("model.safetensors").is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"path={path} has a damaged {index.name} ({first_line(error)}): {ANEW}"
            ) from error
        if missing := sorted(name for name in shards if not index.with_name(name).is_file()):
            raise UserError(f"path={path} lacks {missing[0]}, which its {index.name} names: {ANEW}")
    for file in sorted(Path(path).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except OPENING as error:
            raise UserError(
                f"path={path} has a damaged {file.name} ({first_line(error)}): {ANEW}"
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
        remedy = f": {ANEW}" if Path(path).exists() and not isinstance(error, ImportError) else ""
        raise UserError(f"path={path} cannot be loaded ({first_line(error)}){remedy}") from error
    if missing := sorted(told["missing_keys"]):
        raise UserError(
            f"path={path} has no values for {len(missing)} parameters of {type(model).__name__}, "
            f"such as {missing[0]}: it is a checkpoint of another model"
        )
    there = {LAYER.sub("0", name) for name in model.state_dict()}
    if beyond := sorted(n for n in told["unexpected_keys"] if LAYER.sub("0", n) in there):
        raise UserError(
            f"path={path} has values for {len(beyond)} parameters, such as {beyond[0]}, of layers "
            f"that its config.json leaves out: correct the numbers of layers there"
        )
    return model


def refuse_other_arithmetic(
    network: Any, example: Mapping[str, Tensor], bias: Float[Tensor, "1 rows"] | None
) -> None:
    """Lets the output embeddings give large numbers: but for a bias, they must be the logits.

    Other models scale or squash them.

    Args:
        network: of transformers, in eval mode.
        example: what it is to read, a few tokens.
        bias: what it adds to its logits.

    Raises:
        UserError: if its logits are others, or it cannot read the example.
    """

    def large(logits: Tensor) -> Tensor:
        return torch.linspace(-90, 90, logits.numel()).view_as(logits).to(logits)

    head = network.get_output_embeddings()
    hook = head.register_forward_hook(lambda head, given, logits: large(logits))
    try:
        logits: Tensor = network(**example).logits
    except (RuntimeError, ValueError, LookupError) as error:
        raise UserError(
            f"{network.config.model_type} with these settings cannot read a text "
            f"({first_line(error)}): correct its config"
        ) from error
    finally:
        hook.remove()
    expected = large(logits)
    if not torch.allclose(logits, expected if bias is None else expected + bias):
        raise UserError(
            f"{network.config.model_type} does more to its logits than a linear map, which this "
            f"project cannot do after it: choose another model"
        )


def freeze_computed(network: Any) -> list[str]:
    """Names of the parameters that transformers computes from the config; none is trained.

    It makes some of them anew where it loads a model, whatever they were, and leaves them out where
    it stores one: trained, they would be lost.
    """
    found = []
    for name, value in network.named_parameters(remove_duplicate=False):
        if name in network._keys_to_ignore_on_save:
            value.requires_grad_(False)
        if not value.requires_grad:
            found.append(name)
    return found
