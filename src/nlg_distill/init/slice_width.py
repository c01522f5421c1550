"""The student starts as a narrower piece of the teacher.

Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation" (Minitron),
2024, https://arxiv.org/abs/2407.14679: hidden units, heads and feed-forward units are ranked, the
best are kept, and distillation repairs the rest.

Deviation: there units are ranked by their activations on a calibration set; here by the squared
norm of all weights that they have a part in, which needs no data.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.init.from_teacher import FromTeacher, Report, chosen_layers, sources
from nlg_distill.models import GenerationModel
from nlg_distill.models.widths import Axis


class SliceWidth(FromTeacher):
    """Keeps the units of every width that matter most, or the first, in the order they had.

    Heads are kept whole, so both models need heads of one width. At the teacher's own widths this
    is `CopyLayers`.
    """

    def __init__(self, *, by: str, layers: str | Sequence[int]) -> None:
        """Keeps the settings.

        Args:
            by: `importance` keeps the units with the largest weights, `order` the first.
            layers: as in `CopyLayers`.

        Raises:
            UserError: if `by` is neither.
        """
        if by not in ("importance", "order"):
            raise UserError(f"init.by must be importance or order, got {by!r}")
        self.by = by
        self.layers = layers if isinstance(layers, str) else list(layers)

    def hand_over(self, student: GenerationModel, teacher: GenerationModel) -> Report:
        """Cuts the student's parameters out of the teacher's.

        Raises:
            UserError: if the student is wider anywhere, has heads of another width, or layers that
                the teacher lacks.
        """
        found = sources(student, teacher, chosen_layers(self.layers, student, teacher))
        sizes, groups = self._sizes(student, teacher, found)
        kept = {name: self._kept(teacher, name, sizes[name], groups[name]) for name in sizes}
        cut = {}
        for name, (source, value) in found.items():
            for dimension, axis in enumerate(teacher.axes(source)):
                if axis is not None:
                    entries = axis.entries(kept, value.shape[dimension])
                    value = value.index_select(dimension, entries.to(value.device))
            cut[name] = value
        student.load_state_dict(cut)
        return {
            name: f"{source} {[*value.shape]} cut to {[*cut[name].shape]}"
            for name, (source, value) in found.items()
        }

    def _sizes(
        self,
        student: GenerationModel,
        teacher: GenerationModel,
        found: Mapping[str, tuple[str, Tensor]],
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Of each of the teacher's widths, how many units the student has, and its group."""
        sizes, groups = {}, {}
        for name, parameter in student.state_dict().items():
            source, value = found[name]
            pairs = zip(student.axes(name), teacher.axes(source), strict=True)
            for dimension, (ours, theirs) in enumerate(pairs):
                if ours is None or theirs is None:
                    continue
                wanted, there = parameter.shape[dimension], value.shape[dimension]
                _refuse_wider(name, source, wanted, there)
                if ours.group != theirs.group:
                    raise UserError(
                        f"a head of the student is {ours.group} wide and one of the teacher "
                        f"{theirs.group}: heads are kept whole, so set student_model.num_heads to "
                        f"hidden_size / {theirs.group}"
                    )
                for width in theirs.widths:
                    sizes[width], groups[width] = ours.units(wanted), theirs.group
        return sizes, groups

    def _kept(
        self, teacher: GenerationModel, width: str, size: int, group: int
    ) -> Int[Tensor, " units"]:
        """Which of the teacher's units of a width stay."""
        first = torch.arange(size)
        if self.by == "order":
            return first
        scores = importance(teacher, width)
        best = scores.reshape(-1, group).sum(dim=1).topk(size // group).indices.sort().values
        return (best[:, None] * group + torch.arange(group, device=best.device)).flatten()


def importance(teacher: GenerationModel, width: str) -> Float[Tensor, " units"]:
    """The sum of squares of all weights that each unit of a width has a part in."""
    total: Tensor | None = None
    for name, parameter in teacher.state_dict().items():
        for dimension, axis in enumerate(teacher.axes(name)):
            if axis is not None and width in axis.widths:
                own = _by_unit(parameter, dimension, axis, width)
                total = own if total is None else total + own
    assert total is not None, width
    return total


def _by_unit(parameter: Tensor, dimension: int, axis: Axis, width: str) -> Float[Tensor, " units"]:
    units = parameter.shape[dimension]
    squares = parameter.float().square().movedim(dimension, 0).reshape(units, -1).sum(dim=1)
    parts = squares.reshape(axis.blocks, len(axis.widths), -1)
    own: Tensor = parts[:, axis.widths.index(width)].sum(dim=0)
    return own


def _refuse_wider(name: str, source: str, wanted: int, there: int) -> None:
    if wanted > there:
        raise UserError(
            f"the student's {name} has {wanted} entries where the teacher's {source} has {there}: "
            f"a student is cut out of its teacher, so make student_model narrower"
        )
