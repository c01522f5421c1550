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
from nlg_distill.init.from_teacher import FromTeacher, Report, sources
from nlg_distill.models import GenerationModel
from nlg_distill.models.widths import Axis


class SliceWidth(FromTeacher):
    """Keeps the units of every width that matter most, or the first, in the order they had.

    Heads are kept whole, so both models need heads of one width; where several share a key, they
    stay together. Of tokens, the first are kept. What a model computes from its own widths, such as
    sinusoidal positions, stays the student's. At the teacher's own widths this is `CopyLayers`.
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
                the teacher lacks, or if one of the models does not say what its dimensions count.
        """
        found = sources(student, teacher, self.layers)
        found = {name: pair for name, pair in found.items() if name not in student.computed}
        axes, sizes = _sizes(student, teacher, found)
        kept = {width: self._kept(teacher, axes[width], width, sizes[width]) for width in sizes}
        own = student.state_dict()
        cut = {}
        for name, (source, value) in found.items():
            for dimension, axis in enumerate(teacher.axes(source)):
                if axis is not None:
                    entries = axis.entries(kept, value.shape[dimension])
                    value = value.index_select(dimension, entries.to(value.device))
            cut[name] = value
        student.load_state_dict(own | cut)
        return {
            name: f"{source} {[*value.shape]} cut to {[*cut[name].shape]}"
            for name, (source, value) in found.items()
        }

    def _kept(
        self, teacher: GenerationModel, axis: Axis, width: str, size: int
    ) -> Int[Tensor, " units"]:
        """Which of the teacher's units of a width stay."""
        if self.by == "order" or not axis.ranked:
            return torch.arange(size)
        best: Tensor = importance(teacher, width).topk(size).indices.sort().values
        return best


def _sizes(
    student: GenerationModel, teacher: GenerationModel, found: Mapping[str, tuple[str, Tensor]]
) -> tuple[dict[str, Axis], dict[str, int]]:
    """For each of the teacher's widths an axis that has it, and how many units the student has."""
    axes, sizes = {}, {}
    own = student.state_dict()
    for name, (source, value) in found.items():
        pairs = zip(student.axes(name), teacher.axes(source), strict=True)
        for dimension, (ours, theirs) in enumerate(pairs):
            wanted, there = own[name].shape[dimension], value.shape[dimension]
            if ours is None or theirs is None:
                _refuse_other_size(name, source, wanted, there)
                continue
            _refuse_wider(name, source, wanted, there)
            if ours.group != theirs.group:
                raise UserError(
                    f"a head of the student is {ours.group} wide and one of the teacher "
                    f"{theirs.group}, in {name}, with all that share a key: heads are kept whole, "
                    f"so give the student fewer of the teacher's width; where its config does not "
                    f"set that width, it is hidden size / heads"
                )
            for width in theirs.widths:
                axes[width], sizes[width] = theirs, ours.units(wanted)
    return axes, sizes


def importance(teacher: GenerationModel, width: str) -> Float[Tensor, " units"]:
    """The sum of squares of all weights that each unit of a width has a part in.

    A matrix that is used under two names, such as tied embeddings, counts for both uses; layers
    that the student does not take count like the others.
    """
    total: Tensor | None = None
    for name, parameter in teacher.state_dict().items():
        if name in teacher.computed:
            continue
        for dimension, axis in enumerate(teacher.axes(name)):
            if axis is not None and width in axis.widths:
                own = _by_unit(parameter, dimension, axis, width)
                total = own if total is None else total + own
    assert total is not None, width
    return total


def _by_unit(parameter: Tensor, dimension: int, axis: Axis, width: str) -> Float[Tensor, " units"]:
    size = parameter.shape[dimension]
    squares = parameter.float().square().movedim(dimension, 0).reshape(size, -1).sum(dim=1)
    parts = squares.reshape(axis.blocks, len(axis.widths), -1, axis.group)
    own: Tensor = parts[:, axis.widths.index(width)].sum(dim=(0, 2))
    return own


def _refuse_wider(name: str, source: str, wanted: int, there: int) -> None:
    if wanted > there:
        raise UserError(
            f"the student's {name} has {wanted} entries where the teacher's {source} has {there}: "
            f"a student is cut out of its teacher, so make student_model narrower"
        )


def _refuse_other_size(name: str, source: str, wanted: int, there: int) -> None:
    if wanted != there:
        raise UserError(
            f"the student's {name} has {wanted} entries where the teacher's {source} has {there}, "
            f"and these are not cut: give both models the setting that they follow"
        )
