"""What every summand of an objective is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from nlg_distill.data.batch import Author, Batch
from nlg_distill.errors import UserError
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal

Schedule = Callable[[float], float]
"""A number as a function of the training's progress in [0, 1]."""


class Term(nn.Module, ABC):
    """One summand. It may hold parameters that are trained, or state; both are in the checkpoint.

    Class attributes say what it asks of the teacher, before anything is trained.
    """

    asks: ClassVar[frozenset[Gives]] = frozenset()
    """What it can work with of a teacher, any one of which is enough; empty if it needs none."""
    fewest_tokens = 0
    """How many tokens the vocabulary must have."""
    adapts = False
    """Whether it changes with its own value, which `end_step` then tells."""

    def __init__(
        self, *, weight: float = 1.0, anneal: Schedule | None = None, written_by: str | None = None
    ) -> None:
        """Keeps what all terms have in common.

        Args:
            weight: factor in the objective, above 0.
            anneal: factor of the weight as a function of progress; constant if not given.
            written_by: `gold`, `teacher` or `student`: counts only texts of this author.

        Raises:
            UserError: if `weight` is not positive or there is no such author.
        """
        super().__init__()
        if weight <= 0:
            raise UserError(
                f"weight must be positive, got {weight}; leave a term out of loss=[...] instead "
                f"of giving it no weight"
            )
        authors = [author.name.lower() for author in Author]
        if written_by is not None and written_by not in authors:
            raise UserError(f"written_by must be one of {', '.join(authors)}, got {written_by!r}")
        self.weight = weight
        self.anneal = anneal
        self.author = None if written_by is None else Author[written_by.upper()]
        self.progress = 0.0

    @property
    def current_weight(self) -> float:
        """The weight at this step."""
        return self.weight * self.anneal_factor

    @property
    def anneal_factor(self) -> float:
        """What the schedule makes of the weight at this step."""
        return 1.0 if self.anneal is None else self.anneal(self.progress)

    @classmethod
    def refuse_stored(
        cls, name: str, settings: Mapping[str, Any], teacher: Mapping[str, Any]
    ) -> None:
        """Refuses settings that do not fit a teacher of which single tokens are stored.

        Args:
            name: of the term, for people.
            settings: of the term, as its config has them.
            teacher: config of the teacher source, which gives what the term asks for.
        """

    def check_drawing(self, teacher_share: float | None) -> None:
        """Refuses texts drawn in a way that it would be wrong about, before a start.

        Args:
            teacher_share: see `TargetsPolicy`.
        """

    def begin_step(self, progress: float) -> None:
        """Told before every step how far the training is, in [0, 1)."""
        self.progress = progress

    def end_step(self, value: float, over_ranks: Callable[[Tensor], Tensor]) -> None:
        """Told at every optimizer step what the term was, weighted, per target token.

        Args:
            value: of all ranks.
            over_ranks: the sum of a tensor over all ranks; each calls it as often.
        """

    def rehearse(self) -> None:
        """Calls the loss on next to nothing, so that it refuses its settings before a start."""

    def mask(self, batch: Batch) -> Bool[Tensor, "batch time"]:
        """True where the term counts."""
        return self.by_author(batch.target_mask, batch)

    def where_known(self, signal: TeacherSignal, batch: Batch) -> Batch:
        """The batch without the labels at which the teacher says nothing that the term reads."""
        return batch

    def by_author(
        self, mask: Bool[Tensor, "batch positions"], batch: Batch
    ) -> Bool[Tensor, "batch positions"]:
        """The mask, without the texts of other authors than the term's."""
        if self.author is None:
            return mask
        return mask & (batch.authors == self.author)[:, None]

    def forward(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, ""]:
        """The term's unweighted sum over the batch's target tokens, in nats."""
        known = self.where_known(signal, batch)
        return sum_over_targets(self.per_token(student, signal, known), self.mask(known))

    @abstractmethod
    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The term's value at every target position, unweighted, in nats."""
