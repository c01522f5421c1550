"""A student's structure as a share of its teacher's."""

from collections.abc import Mapping
from typing import Any

from nlg_distill.errors import UserError

WIDTHS = ("hidden_size", "embedding_size", "feed_forward_size", "num_heads")


def from_teacher(
    *, teacher: Mapping[str, Any], depth: float, width: float, hidden_size: int
) -> dict[str, Any]:
    """The config of a model of the teacher's kind with fewer layers, narrower or both.

    Heads become fewer, not narrower, so that `init=slice_width` fits.

    Args:
        teacher: config of the teacher's model.
        depth: share of its layers, in (0, 1].
        width: share of its sizes, in (0, 1].
        hidden_size: the teacher's times `width`, for losses that ask for it by name.

    Raises:
        UserError: if a share is outside its range or leaves a number that is not whole.
    """
    sizes = {"num_layers": scaled(teacher["num_layers"], depth, "depth of num_layers")}
    for name in WIDTHS:
        if name in teacher:
            sizes[name] = scaled(teacher[name], width, f"width of {name}")
    assert sizes["hidden_size"] == hidden_size
    return {**teacher, **sizes}


def scaled(size: int, share: float, what: str = "width of hidden_size") -> int:
    """A size times a share of it.

    Raises:
        UserError: if the share is outside (0, 1], or the result is not whole.
    """
    if not 0 < share <= 1:
        raise UserError(f"{what} must be in (0, 1], got {share}")
    result = round(size * share)
    if abs(result - size * share) > 1e-6:
        raise UserError(
            f"{what}: {share} of the teacher's {size} is {size * share:g}, which is not whole: "
            f"take another share, or 1"
        )
    return result
