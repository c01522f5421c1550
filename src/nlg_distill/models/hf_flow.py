"""What the matrices of a network of transformers read and write, seen while it runs."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn


class Role(Enum):
    """Whether a matrix reads what its surrounding module is given, or writes what that gives."""

    READS = 1
    WRITES = 2


def matrix_dimensions(module: nn.Module) -> tuple[int, int] | None:
    """Which dimensions of its weight count what it gives, and what it reads; None if no matrix."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return 0, 1
    return (1, 0) if isinstance(module, Conv1D) else None


def roles(network: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Role]:
    """The role of each matrix that has one alone.

    In an attention, queries, keys and values are read from what it is given, and its output is what
    it gives: they are one tensor, which tells them apart whatever they are called.
    """
    given: dict[str, set[int]] = defaultdict(set)
    left: dict[str, set[int]] = defaultdict(set)
    held: list[Tensor] = []  # so that no memory is used twice

    def note(places: set[int], values: Any) -> None:
        for tensor in _tensors(values):
            held.append(tensor)
            places.add(tensor.untyped_storage().data_ptr())

    hooks = []
    for name, module in network.named_modules():
        before = _before(given[name], note)
        after = _after(left[name], note)
        hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(module.register_forward_hook(after))
    try:
        with torch.no_grad():
            network(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, module in network.named_modules():
        parent = name.rpartition(".")[0]
        reads, writes = given[name] & given[parent], left[name] & left[parent]
        if matrix_dimensions(module) is not None and bool(reads) != bool(writes):
            found[name] = Role.READS if reads else Role.WRITES
    return found


def _before(places: set[int], note: Any) -> Any:
    return lambda module, values, named: note(places, [values, named])


def _after(places: set[int], note: Any) -> Any:
    return lambda module, values, result: note(places, result)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
