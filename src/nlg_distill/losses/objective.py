"""A weighted sum of loss terms, each logged apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal


@runtime_checkable
class Term(Protocol):
    """One summand of the objective."""

    @property
    def weight(self) -> float:
        """Factor of this term in the objective."""
        ...

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's distribution is asked for."""
        ...

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The term's value at every target position, unweighted, in nats."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelTerm:
    """A loss of the student's logits and the labels: `loss(student_logits, labels)`."""

    loss: Callable[..., Tensor]
    weight: float = 1.0
    needs_teacher = False

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The loss at every target position."""
        return self.loss(student.logits, batch.labels)


@dataclass(frozen=True, kw_only=True)
class DivergenceTerm:
    """A divergence between the two distributions: `loss(student_logits, teacher_logits)`."""

    loss: Callable[..., Tensor]
    weight: float = 1.0
    needs_teacher = True

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The divergence at every target position."""
        return self.loss(student.logits, signal.logits)


class Objective:
    """The terms of a training, by name."""

    def __init__(self, terms: Mapping[str, Term]) -> None:
        """Keeps the terms.

        Raises:
            UserError: if there is no term, or a weight is not positive.
        """
        if not terms:
            raise UserError("the objective has no term: give at least one, for example loss=nll")
        for name, term in terms.items():
            if term.weight <= 0:
                raise UserError(
                    f"loss.{name}.weight must be positive, got {term.weight}; leave a term out "
                    f"of loss=[...] instead of giving it no weight"
                )
        self.terms = dict(terms)

    @property
    def needs_teacher(self) -> bool:
        """Whether any term asks for the teacher's distribution."""
        return any(term.needs_teacher for term in self.terms.values())

    def __call__(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term's weighted sum over the batch's target tokens, in nats."""
        return {
            name: term.weight
            * sum_over_targets(term.per_token(student, signal, batch), batch.target_mask)
            for name, term in self.terms.items()
        }
