"""Whether a network of transformers says the same with the units of its widths in another order."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nlg_distill.models.widths import Axis

Axes = dict[str, tuple[Axis | None, ...]]


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers; those of two names stand there twice."""
    parameters = network.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(network.named_buffers(remove_duplicate=False))}


def texts(network: Any) -> dict[str, Any]:
    """Inputs of a few tokens."""
    ids = torch.arange(1, 7)[None]
    decoder = {"decoder_input_ids": ids} if network.config.is_encoder_decoder else {}
    return {"input_ids": ids, **decoder, "use_cache": False}


@torch.no_grad()
def randomised(network: Any) -> Any:
    """The network with parameters of which every part matters."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def with_larger_parameters(model: Any) -> Any:
    """A copy of a model that was made at random, but with parameters so large that each matters.

    At its first small ones a model's attention is all alike, wherever it looks. Nothing is drawn
    from the generator that parameters and dropout follow.
    """
    trial = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        randomised(trial.network)
    return trial


def changing(network: Any, axes: Axes) -> str | None:
    """A width whose units cannot be put in another order without a change; None if all can.

    Each width gets an order of its own, so that two that belong together are not taken for two;
    none keeps the one it has, unless it is of one unit.
    """
    generator = torch.Generator().manual_seed(0)
    orders: dict[str, Int[Tensor, " units"]] = {}
    for name, tensor in tensors(network).items():
        for dimension, axis in enumerate(axes[name]):
            if axis is not None and axis.ranked and axis.widths[0] not in orders:
                units = axis.units(tensor.shape[dimension])
                orders[axis.widths[0]] = _another(units, orders.values(), generator)
    before = _logits(network)

    def changes(widths: Iterable[str]) -> bool:
        chosen = {width: orders[width] for width in widths}
        _reorder(network, axes, chosen)
        after = _logits(network)
        _reorder(network, axes, {width: order.argsort() for width, order in chosen.items()})
        return not torch.allclose(before, after, rtol=0.0, atol=1e-3 * before.std().item())

    if not changes(orders):
        return None
    return next((width for width in orders if changes([width])), min(orders))


def _another(
    units: int, orders: Iterable[Tensor], generator: torch.Generator
) -> Int[Tensor, " units"]:
    """An order of so many units that is none of these; as they are, if there is no other."""
    kept = torch.arange(units)
    taken = {tuple(order.tolist()) for order in (kept, *orders)}
    drawn = (torch.randperm(units, generator=generator) for _ in range(1000))
    return next((order for order in drawn if tuple(order.tolist()) not in taken), kept)


@torch.no_grad()
def _reorder(network: nn.Module, axes: Axes, orders: Mapping[str, Int[Tensor, " units"]]) -> None:
    done = set()
    for name, tensor in tensors(network).items():
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        for dimension, axis in enumerate(axes[name]):
            if axis is not None and axis.widths[0] in orders:
                entries = axis.entries(orders, tensor.shape[dimension])
                tensor.copy_(tensor.index_select(dimension, entries))


@torch.no_grad()
def _logits(network: Any) -> Float[Tensor, "1 time vocab"]:
    logits: Tensor = network(**texts(network)).logits
    return logits
