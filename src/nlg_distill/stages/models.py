"""Trained models on disk: safetensors weights, the config that builds them, their tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_class, get_object, instantiate
from safetensors import SafetensorError

from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.stages.tokenizer import copy_tokenizer, load_tokenizer


def concrete(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a model's class; what names a function instead, has it made by that."""
    if isinstance(get_object(config["_target_"]), type):
        return config
    made: dict[str, Any] = instantiate(config, _convert_="all")
    return made


def build_model(config: Mapping[str, Any], vocab_size: int) -> GenerationModel:
    """A model with fresh parameters."""
    model: GenerationModel = instantiate(concrete(config), vocab_size=vocab_size, _convert_="all")
    return model


def save_model(model: GenerationModel, tokenizer: Path, out: Path) -> None:
    """Writes the weights, and the tokenizer beside them so that the folder is enough to deploy."""
    model.save(out, first=load_tokenizer(tokenizer).special.first)
    copy_tokenizer(tokenizer, out)


def load_model(artifact: Path) -> GenerationModel:
    """A trained model in eval mode."""
    config = yaml.safe_load((artifact / "config.yaml").read_text(encoding="utf-8"))
    kind: type[GenerationModel] = get_class(config["model"]["_target_"])
    try:
        model = kind.load(config["model"], artifact, load_tokenizer(artifact).vocab_size)
    except SafetensorError as error:
        raise UserError(
            f"{artifact / WEIGHTS} is damaged ({error}): the next training run that needs it makes "
            f"it again"
        ) from error
    return model.eval()
