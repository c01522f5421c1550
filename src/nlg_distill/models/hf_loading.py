"""Hugging Face checkpoints: opened by name, folder or GGUF file; refused where they do not fit."""

import difflib
import hashlib
import importlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from nlg_distill.errors import UserError

EXTRA = "pip install -e '.[hf]'"
GGUF = ".gguf"
MEBIBYTE = 1 << 20
OPENING = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    ImportError,
    SafetensorError,
    struct.error,
)
TOKENS = {f"{name}_token_id" for name in ("bos", "eos", "pad", "decoder_start")}  # of any model


def library() -> Any:
    """The package transformers, without its progress bars.

    Raises:
        UserError: if it is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(f"Hugging Face models need an extra of this project: {EXTRA}") from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def place(path: str) -> dict[str, str]:
    """Where `from_pretrained` looks: a name, a folder, or a folder and the GGUF file in it.

    Raises:
        UserError: if a GGUF file is not there, or is none.
    """
    file = Path(path)
    if file.suffix != GGUF:
        return {"pretrained_model_name_or_path": path}
    if not file.is_file():
        raise UserError(f"path={path}: there is no such file")
    with file.open("rb") as content:
        if content.read(4) != b"GGUF":
            raise UserError(f"path={path} is no GGUF file: it does not begin with GGUF")
    return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def read_config(path: str) -> Any:
    """The config of a checkpoint.

    Raises:
        UserError: if there is none.
    """
    transformers = library()
    try:
        return transformers.AutoConfig.from_pretrained(**place(path))
    except UserError:
        raise
    except OPENING as error:
        raise UserError(
            f"path={path} holds no model that transformers can open ({_first_line(error)}): give "
            f"the folder of a checkpoint with its config.json, a GGUF file, or a model's name"
        ) from error


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
        raise UserError(f"config: {_first_line(error)}") from error


def build(auto: str, config: Any, options: Mapping[str, Any]) -> Any:
    """A model of this config, its parameters at random, or without values on the meta device."""
    kind = getattr(library(), auto)
    try:
        return kind.from_config(config, dtype=torch.float32, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"{config.model_type}, as a model of this config ({_first_line(error)})"
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
        raise UserError(f"path={path} cannot be loaded: {_first_line(error)}") from error
    if missing := sorted(told["missing_keys"]):
        raise UserError(
            f"path={path} has no values for {len(missing)} parameters of {type(model).__name__}, "
            f"such as {missing[0]}: it is a checkpoint of another model"
        )
    return model


def fingerprint(path: str) -> dict[str, str]:
    """What identifies the content of a local path, by file; a name in a hub stands for itself.

    Of each file: its size, and a hash of its first and last MiB.

    Raises:
        UserError: if a GGUF file is not there, or is none.
    """
    place(path)
    root = Path(path)
    files = sorted(f for f in root.rglob("*") if f.is_file()) if root.is_dir() else [root]
    return {str(f.relative_to(root.parent)): _ends(f) for f in files if f.is_file()}


def _ends(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(MEBIBYTE))
        content.seek(max(0, size - MEBIBYTE))
        digest.update(content.read())
    return f"{size} {digest.hexdigest()[:16]}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
