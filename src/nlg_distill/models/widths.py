"""What the dimensions of a model's parameters count, so that a narrower model can be cut out."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from nlg_distill.errors import UserError


@dataclass(frozen=True)
class Axis:
    """One dimension of a parameter: the units of its widths one after the other, in every block.

    Args:
        widths: names; what has one name is cut alike everywhere in the model.
        blocks: how often the units come, such as 4 for the gates of an LSTM.
        group: entries of one unit, side by side, such as those of a head.
        ranked: whether any units may stay; otherwise the first do, as with the tokens of a
            vocabulary.
    """

    widths: tuple[str, ...]
    blocks: int = 1
    group: int = 1
    ranked: bool = True

    def units(self, size: int) -> int:
        """Units of each width, where the dimension has this size."""
        return size // self.blocks // len(self.widths) // self.group

    def entries(self, kept: Mapping[str, Int[Tensor, " _"]], size: int) -> Int[Tensor, " _"]:
        """Which entries of a dimension of this size stay, where these units of each width do."""
        units = self.units(size)
        block = torch.cat([kept[name] + i * units for i, name in enumerate(self.widths)])
        steps = torch.arange(self.blocks, device=block.device) * units * len(self.widths)
        chosen = (steps[:, None] + block).flatten()
        inside = torch.arange(self.group, device=block.device)
        return (chosen[:, None] * self.group + inside).flatten()


def attention_axes(name: str, head_size: int) -> tuple[Axis | None, ...]:
    """The axes of a parameter of a Transformer whose parts are named as in `transformer.py`.

    None stands for the vocabulary and for positions. `hidden` is the width of what layers hand on;
    each attention has heads of its own, and each layer a feed-forward width.
    """
    *places, part, kind = name.split(".")
    hidden, place = Axis(("hidden",)), ".".join(places)
    heads = Axis((f"{place}.heads",), group=head_size)
    axes: dict[str, tuple[Axis | None, ...]] = {
        "embedding": (None, hidden),
        "positions": (None, hidden),
        "projection": (None, hidden),
        "query": (heads, hidden),
        "key_value": (Axis(heads.widths, blocks=2, group=head_size), hidden),
        "output": (hidden, heads),
        "expand": (Axis((f"{place}.feed_forward",)), hidden),
        "contract": (hidden, Axis((f"{place}.feed_forward",))),
    }
    whole = axes.get(part, (hidden,))
    return whole if kind == "weight" else whole[:1]


def scaled(size: int, share: float, what: str = "width of hidden_size") -> int:
    """A size times a share of it.

    Raises:
        UserError: if the share is no number in (0, 1], or the result is not whole.
    """
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise UserError(f"{what} must be in (0, 1], got {share!r}")
    result = round(size * share)
    if abs(result - size * share) > 1e-6 or result < 1:
        raise UserError(
            f"{what}: {share} of the teacher's {size} is {size * share:g}, which is not whole: "
            f"take another share, or 1"
        )
    return result
