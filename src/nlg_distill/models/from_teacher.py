"""A student's structure as a share of its teacher's."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object

from nlg_distill.errors import UserError
from nlg_distill.models.generation_model import GenerationModel


def from_teacher(
    *, teacher: Mapping[str, Any], depth: float, width: float, hidden_size: int | None
) -> dict[str, Any]:
    """The config of a model of the teacher's kind with fewer layers, narrower or both.

    Heads become fewer, not narrower, so that `init=slice_width` fits.

    Args:
        teacher: config of the teacher's model.
        depth: share of its layers, in (0, 1].
        width: share of its sizes, in (0, 1].
        hidden_size: the teacher's times `width`, for losses that ask for it by name; None where the
            teacher's config does not name it, as with Hugging Face models.

    Raises:
        UserError: if a share is outside its range or leaves a number that is not whole, or the
            teacher has no structure to share.
    """
    kind = get_object(teacher["_target_"]) if "_target_" in teacher else None
    if not (isinstance(kind, type) and issubclass(kind, GenerationModel)):
        raise UserError(
            f"teacher={dict(teacher)} is no model to take a share of: choose one, such as "
            f"model@teacher_model=transformer_tiny"
        )
    made = kind.share(teacher, depth=depth, width=width)
    if made.get("hidden_size") != hidden_size:
        raise UserError(
            f"hidden_size={hidden_size}, but this share of the teacher has "
            f"{made.get('hidden_size', 'none to set')}: it follows from width, so leave it out"
        )
    return made
