"""What the dimensions of a Hugging Face model's parameters count, found out by trying.

A small model of the same architecture is made as it is, and once for each width with twice of it:
a dimension that becomes twice as large counts it. Then the units of each width are put in an order
of their own: where all is found, the model says the same as before. Nothing here knows an
architecture.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NoReturn

import torch
from torch import nn

from nlg_distill.errors import UserError
from nlg_distill.hugging_face import OPENING, first_line
from nlg_distill.models import hf_loading
from nlg_distill.models.hf_flow import Role, matrix_dimensions, roles
from nlg_distill.models.hf_settings import (
    FEED_FORWARD,
    HIDDEN,
    KEY_HEADS,
    LAYERS,
    QUERY_HEADS,
    named,
    resized,
    settings_of,
)
from nlg_distill.models.hf_trial import Axes, changing, randomised, tensors, texts
from nlg_distill.models.widths import Axis

LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
Place = tuple[str, int]
"""A dimension: the name of its parameter, and its number."""
UNITS = 5
BETWEEN = 16
"""Units of a feed-forward layer: a multiple of 8, as experts' are to be."""
TOKENS = 11
ELSE = "start the student otherwise, as with init=random"


@dataclass(frozen=True)
class Small:
    """A small model with heads as wide as a config's, which share keys as there.

    Args:
        auto: the class of transformers that makes it.
        written: what makes it, as JSON.
        head_size: width of a head, where the config does not set it.
        shared: heads that share a key.
    """

    auto: str
    written: str
    head_size: int
    shared: int

    @classmethod
    def of(cls, auto: str, config: Any) -> "Small":
        """The small model of a config.

        Raises:
            UserError: if the config says its sizes by other names, or heads of two numbers.
        """
        settings = settings_of(config)
        hidden, queries = named(settings, HIDDEN), named(settings, QUERY_HEADS)
        keys, layers = named(settings, KEY_HEADS), named(settings, LAYERS)
        if len(hidden) != 1 or not queries:
            raise UserError(
                f"{config.model_type} says its hidden size and heads by other names than "
                f"{', '.join((*HIDDEN, *QUERY_HEADS))}, so that no narrower model can be cut out "
                f"of it: {ELSE}"
            )
        if len({*queries.values()}) > 1:
            said = " and ".join(f"{name}={number}" for name, number in queries.items())
            raise UserError(
                f"{config.model_type} has {said}: a narrower model is cut out only where all have "
                f"as many heads: {ELSE}"
            )
        heads = max(queries.values())
        shared = heads // min([heads, *keys.values()])
        ((name, size),) = hidden.items()
        sizes = dict.fromkeys(queries, UNITS * shared) | dict.fromkeys(keys, UNITS)
        sizes[name] = UNITS * shared * (size // heads)
        sizes |= {layer: min(2, number) for layer, number in layers.items()}
        sizes |= {name: BETWEEN for name in FEED_FORWARD if name in settings}
        ids = {id_: 0 for id_, value in settings.items() if id_.endswith("_token_id") and value}
        written = json.dumps(resized(settings, sizes) | ids, sort_keys=True)
        return cls(auto, written, size // heads, shared)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it."""
        settings: dict[str, Any] = json.loads(self.written)
        return settings

    def make(self, device: str, *, tokens: int = TOKENS, **sizes: int) -> Any:
        """The model, or one with some other sizes."""
        config = hf_loading.config_of({**self.settings, **sizes}, tokens)
        with torch.device(device):
            return hf_loading.build(self.auto, config, {}).eval()

    def doubled(self, *names: str) -> set[Place]:
        """The dimensions that become twice as large where these settings do."""
        return self._grown(self.make("meta", **{name: 2 * self.settings[name] for name in names}))

    def longer(self) -> set[Place]:
        """The dimensions that count tokens."""
        return self._grown(self.make("meta", tokens=2 * TOKENS))

    def _grown(self, larger: Any) -> set[Place]:
        before, after = tensors(self.make("meta")), tensors(larger)
        found = set()
        for name, tensor in before.items():
            for dimension, size in enumerate(tensor.shape):
                now = after[name].shape[dimension] if name in after else 0
                if now not in (size, 2 * size):
                    self.refuse(name, "has several widths in one dimension")
                if now != size:
                    found.add((name, dimension))
        return found

    def refuse(self, name: str, why: str) -> NoReturn:
        """Names a parameter of which no narrower one can be cut."""
        raise UserError(
            f"{self.settings['model_type']}: no narrower model can be cut out, since {name} {why}: "
            f"{ELSE}"
        )


def small_axes(auto: str, config: Any) -> Axes:
    """The axes of a small model of a config's architecture, with two layers.

    Widths of one place in the model are named `{place}.heads` or `{place}.feed_forward`, those that
    all layers have in common `{stack}.heads`.

    Raises:
        UserError: if what they count cannot be told; it says of which parameter, and why.
    """
    small = Small.of(auto, config)
    try:
        return _axes_of(small)
    except UserError:
        raise
    except OPENING as error:
        raise UserError(
            f"{config.model_type}: a small model of its kind does not run ({first_line(error)}), "
            f"so that no narrower one can be cut out: {ELSE}"
        ) from error


@cache
def _axes_of(small: Small) -> Axes:
    hidden_size, *heads = named(small.settings, (*HIDDEN, *QUERY_HEADS, *KEY_HEADS))
    hidden = small.doubled(hidden_size)
    inner = small.doubled(hidden_size, *heads) - hidden
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = randomised(small.make("cpu"))
    counted: dict[Place, Axis] = {}
    tied = not inner  # the heads' width follows from the hidden size
    if tied:
        inner = _inside(small, network, hidden)
    for place in inner:
        counted[place] = _heads(small, network, place, tied=tied)
    units, sizes = small.settings[hidden_size], tensors(network)
    for name, dimension in hidden - inner:
        if sizes[name].shape[dimension] == units:  # and else the width of a head, which stays
            counted[name, dimension] = Axis(("hidden",))
    more = {place: Axis(("vocabulary",), ranked=False) for place in small.longer()}
    for setting, size in named(small.settings, FEED_FORWARD).items():
        for name, dimension in small.doubled(setting):
            blocks = sizes[name].shape[dimension] // size
            more[name, dimension] = Axis(("{place}.feed_forward",), blocks=blocks)
    for name, _ in sorted(counted.keys() & more.keys()):
        small.refuse(name, "has several widths in one dimension")
    counted |= more
    found = {
        name: tuple(counted.get((name, dimension)) for dimension in range(tensor.ndim))
        for name, tensor in tensors(network).items()
    }
    found = _in_common(network, found)
    at_place = {name: axes(found, name) for name in found}
    _refuse_two_sizes(small, network, at_place)
    if (wrong := changing(network, at_place)) is not None:
        having = [n for n, found in at_place.items() if wrong in _widths(found)]
        largest = max(having, key=lambda name: sizes[name].numel())
        small.refuse(largest, f"has units of {wrong} in an order that is not known here")
    return found


def _widths(dimensions: Iterable[Axis | None]) -> set[str]:
    return {width for axis in dimensions if axis is not None for width in axis.widths}


def _refuse_two_sizes(small: Small, network: nn.Module, found: Axes) -> None:
    units: dict[str, int] = {}
    for name, tensor in tensors(network).items():
        for size, axis in zip(tensor.shape, found[name], strict=True):
            if axis is None:
                continue
            if units.setdefault(axis.widths[0], axis.units(size)) != axis.units(size):
                small.refuse(name, "has several widths in one dimension")


def axes(found: Axes, name: str) -> tuple[Axis | None, ...]:
    """The axes of a parameter of the whole model; see `small_axes`."""
    twin = LAYER.sub(lambda layer: str(min(1, int(layer[0]))), name, count=1)
    if twin not in found:
        raise UserError(
            f"no narrower model can be cut out, since {name} is like nothing in the first two "
            f"layers: {ELSE}"
        )
    return tuple(None if axis is None else _at(axis, name) for axis in found[twin])


def _at(axis: Axis, name: str) -> Axis:
    place = name.rsplit(".", 2)[0]
    stack = LAYER.sub("*", place, count=1)
    return replace(axis, widths=tuple(w.format(place=place, stack=stack) for w in axis.widths))


def _inside(small: Small, network: nn.Module, hidden: set[Place]) -> set[Place]:
    """Of the dimensions that grow with the hidden size, those that count heads.

    Of a matrix from hidden states to heads, or back, both grow: which is which, is seen where it
    reads or writes.
    """
    square = [name for name in tensors(network) if {(name, 0), (name, 1)} <= hidden]
    found, known = set(), roles(network, texts(network))
    for name in square:
        part, _, kind = name.rpartition(".")
        role = known.get(part)
        if role is None or kind != "weight":
            small.refuse(name, "might count heads or hidden units in either dimension")
        dimensions = matrix_dimensions(network.get_submodule(part))
        assert dimensions is not None, part
        out, read = dimensions
        found.add((name, out if role is Role.READS else read))
        bias = (f"{part}.bias", 0)
        if role is Role.READS and bias in hidden:
            found.add(bias)
    return found


def _heads(small: Small, network: nn.Module, place: Place, *, tied: bool) -> Axis:
    """The axis of a dimension that counts heads; those that share a key are one unit."""
    name, dimension = place
    entries = tensors(network)[name].shape[dimension] // UNITS
    blocks = entries // small.head_size if tied and small.shared == 1 else 1
    return Axis(("{place}.heads",), blocks=blocks, group=entries // blocks)


def _in_common(network: nn.Module, found: Axes) -> Axes:
    """The axes, with one width for the heads of all layers where these may read the same of them.

    That is what is said of each head elsewhere than in a matrix, such as T5's relative positions.
    """
    common = set()
    for name, dimensions in found.items():
        module = network.get_submodule(name.rpartition(".")[0])
        if matrix_dimensions(module) is None and any(map(_of_heads, dimensions)):
            common.add(LAYER.sub("*", name.rsplit(".", 2)[0], count=1))
    return {
        name: tuple(
            replace(axis, widths=("{stack}.heads",))
            if axis is not None
            and _of_heads(axis)
            and LAYER.sub("*", name.rsplit(".", 2)[0], count=1) in common
            else axis
            for axis in dimensions
        )
        for name, dimensions in found.items()
    }


def _of_heads(axis: Axis | None) -> bool:
    return axis is not None and axis.widths == ("{place}.heads",)
