"""Terms that compare inner states, layer by layer."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.models.output import Features, ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal


class FeatureTerm(Term):
    """The sum over layers of a distance between the student's and the teacher's states.

    What stands at target positions is summed over the target tokens, what stands at source
    positions over the source's. Both are divided, like every term, by the target tokens.
    """

    asks = frozenset({Gives.FEATURES})
    kind: str
    """Which of `Features` it compares."""
    at_source: tuple[str, ...]
    """How the names of states begin that stand at source positions."""

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        layers: Mapping[str, str],
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
    ) -> None:
        """Keeps the loss and the layers.

        Args:
            loss: a pure function of the student's and the teacher's states, one value per position.
            layers: the teacher's layer by the student's, each by its name in `Features`.
            weight: see `Term`.
            anneal: see `Term`.
            written_by: see `Term`.

        Raises:
            UserError: if there are no layers.
        """
        super().__init__(weight=weight, anneal=anneal, written_by=written_by)
        if not layers:
            raise UserError("layers must map at least one student layer to a teacher layer")
        self.loss, self.layers = loss, dict(layers)

    @abstractmethod
    def compare(
        self,
        index: int,
        student: Tensor,
        teacher: Tensor,
        mask: Bool[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """The distance at every position, for layer pair `index`; `mask` is True on text."""

    def forward(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, ""]:
        """The unweighted sum over layers and their positions."""
        at_source = self._sum(student, signal, batch, at_source=True)
        if at_source is None:
            return super().forward(student, signal, batch)
        at_target = self._sum(student, signal, batch, at_source=False)
        total = sum_over_targets(at_source, self.by_author(batch.source_mask, batch))
        if at_target is None:
            return total
        return total + sum_over_targets(at_target, self.mask(batch))

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The sum over the layers that stand at target positions."""
        found = self._sum(student, signal, batch, at_source=False)
        return torch.zeros_like(batch.target_mask, dtype=torch.float32) if found is None else found

    def _sum(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch, *, at_source: bool
    ) -> Float[Tensor, "batch positions"] | None:
        """The sum over the layers of one side; None if there are none."""
        mask = batch.source_mask if at_source else batch.target_mask
        total: Tensor | None = None
        for index, (ours, theirs) in enumerate(self.layers.items()):
            if ours.startswith(self.at_source) != theirs.startswith(self.at_source):
                raise UserError(
                    f"layers: the student's {ours} and the teacher's {theirs} do not stand at the "
                    f"same positions"
                )
            if ours.startswith(self.at_source) == at_source:
                mine = self._layer(student.features, ours, "student")
                values = self.compare(
                    index, mine, self._layer(signal.features, theirs, "teacher"), mask
                )
                total = values if total is None else total + values
        return total

    def _layer(self, features: Features, name: str, whose: str) -> Tensor:
        states: Mapping[str, Tensor] = getattr(features, self.kind)
        if name not in states:
            raise UserError(
                f"layers: the {whose} has {', '.join(states) or 'none'} as {self.kind}, got {name}"
            )
        return states[name]
