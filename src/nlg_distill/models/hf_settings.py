"""Settings of transformers that say how deep and how wide a model is, by their names there."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nlg_distill.errors import UserError
from nlg_distill.hugging_face import library
from nlg_distill.models.widths import scaled

LAYERS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "n_layer",
    "encoder_layers",
    "decoder_layers",
)
HIDDEN = ("hidden_size", "d_model", "n_embd")
QUERY_HEADS = (
    "num_attention_heads",
    "num_heads",
    "n_head",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
KEY_HEADS = ("num_key_value_heads",)
FEED_FORWARD = (
    "intermediate_size",
    "d_ff",
    "n_inner",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
)
KINDS = {
    "layers": LAYERS,
    "its hidden size": HIDDEN,
    "heads": QUERY_HEADS,
    "its feed-forward size": FEED_FORWARD,
}
SILENT = re.compile(
    r"^(hidden_act|activation_function|feed_forward_proj|relative_attention_max_distance)$"
    r"|(^|_)(rope|rotary|eps|epsilon|scale|scaling|window)(_|$)"
)
"""Settings that change what parameters mean, and the shape of none."""
TOKENS = {f"{name}_token_id" for name in ("bos", "eos", "pad", "decoder_start")}
"""Settings that any model may have, whatever its kind's defaults name."""
VOCABULARY = "vocab_size"
"""How the settings end that a tokenizer gives."""
OF_A_FILE = {
    "model_type",
    "architectures",
    "dtype",
    "transformers_version",
    "quantization_config",
    "_name_or_path",
    "id2label",
    "label2id",
}
"""What a config says about the checkpoint that it belongs to, and about classifiers."""


def settings_of(config: Any) -> dict[str, Any]:
    """All settings from which transformers makes a config like this one, but for a vocabulary."""
    known = library().AutoConfig.for_model(config.model_type).to_dict()
    given = {
        name: value
        for name, value in config.to_dict().items()
        if (name in known or name in TOKENS)
        and name not in OF_A_FILE
        and not name.endswith(VOCABULARY)
    }
    return {"model_type": config.model_type, **given}


def named(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Those of the names that have a number."""
    return {name: settings[name] for name in names if isinstance(settings.get(name), int)}


def share(config: Any, *, depth: float, width: float) -> dict[str, Any]:
    """Settings of a model with this share of the layers and of the widths; heads stay as wide.

    Raises:
        UserError: if a share is not whole, or the config says its sizes by other names.
    """
    settings = settings_of(config)
    for what, names in KINDS.items():
        if not any(name in settings for name in names):
            raise UserError(
                f"{config.model_type} says {what} by none of {', '.join(names)}, so there is no "
                f"share of it: give the student's structure by hand, as +student_model.config="
            )
    sizes = {
        name: scaled(size, depth, f"depth of {name}")
        for name, size in named(settings, LAYERS).items()
    }
    for name, size in named(settings, (*HIDDEN, *QUERY_HEADS, *KEY_HEADS, *FEED_FORWARD)).items():
        sizes[name] = scaled(size, width, f"width of {name}")
    for name, value in by_layer(settings).items():
        if any(entry != value[0] for entry in value):
            raise UserError(
                f"{config.model_type} has layers of several kinds, {name}={value}, of which there "
                f"is no share: give the student's structure by hand, as +student_model.config="
            )
    return resized(settings, sizes)


def by_layer(settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The settings that have an entry for each layer."""
    depths = set(named(settings, LAYERS).values())
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, list)
        and value
        and len(value) in depths
        and not name.endswith("_token_id")
    }


def resized(settings: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The settings with other sizes; what has an entry for each layer, has those of the first."""
    depth = max(named(sizes, LAYERS).values(), default=0)
    cut = {name: value[:depth] for name, value in by_layer(settings).items() if depth}
    return {**settings, **cut, **sizes}
