"""Adapters of peft around a model of transformers."""

import warnings
from typing import Any

from torch import nn

from nlg_distill.errors import UserError


def with_adapters(network: Any, lora: Any) -> Any:
    """The network inside adapters, which alone are trained.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022,
    https://arxiv.org/abs/2106.09685.

    Args:
        network: of transformers, which is changed.
        lora: a `peft.LoraConfig`.

    Raises:
        UserError: if they fit nowhere, or at the output embeddings, under whichever name: merged,
            adapters of embeddings that are the output's too would change the logits.
    """
    import peft
    from peft.tuners.lora import LoraLayer

    try:
        with warnings.catch_warnings():  # what it sets right by itself, and its use of old names
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")
            adapted = peft.get_peft_model(network, lora)
    except ValueError as error:
        hint = ""
        if "target modules" in str(error).lower():
            names = ", ".join(_matrices(network))
            hint = f" There are {names}; lora.target_modules=all-linear takes all of them"
        raise UserError(f"lora: {error}{hint}") from error
    head = network.get_output_embeddings()
    layers = [part for part in network.modules() if isinstance(part, LoraLayer)]
    if type(head) is not nn.Linear or any(
        layer.get_base_layer().weight is head.weight for layer in layers
    ):
        raise UserError(
            "lora.target_modules: leave the output embeddings out, and those of the input where "
            "they are the same"
        )
    return adapted


def _matrices(network: Any) -> list[str]:
    """The last names of the linear maps, but for the output embeddings."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D)
    head = network.get_output_embeddings()
    parts = network.named_modules()
    return sorted(
        {n.rpartition(".")[2] for n, p in parts if isinstance(p, kinds) and p is not head}
    )
