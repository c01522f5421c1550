"""A weighted sum of loss terms, each logged apart."""

from collections.abc import Callable, Mapping, Set
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nlg_distill.data.batch import Author, Batch
from nlg_distill.errors import UserError
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal


class LabelTerm(Term):
    """A loss of the student's logits and the labels: `loss(student_logits, labels)`."""

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
    ) -> None:
        """`loss` is a pure function, in nats per token; the rest as in `Term`."""
        super().__init__(weight=weight, anneal=anneal, written_by=written_by)
        self.loss = loss

    def rehearse(self) -> None:
        """Takes the loss of one uniform distribution."""
        self.loss(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The loss at every target position."""
        return self.loss(student.logits, batch.labels)


class Objective(nn.Module):
    """The terms of a training, by name."""

    def __init__(self, terms: Mapping[str, Term]) -> None:
        """Keeps the terms.

        Raises:
            UserError: if there is no term, or one is no `Term`.
        """
        super().__init__()
        if not terms:
            raise UserError("the objective has no term: give at least one, for example loss=[nll]")
        for name, term in terms.items():
            if not isinstance(term, Term):
                raise UserError(
                    f"loss.{name} must be a Term, got a {type(term).__name__}: wrap a function of "
                    f"two tensors of logits as DivergenceTerm(loss=...)"
                )
        self.terms = nn.ModuleDict(terms)

    def items(self) -> list[tuple[str, Term]]:
        """The terms with their names."""
        return [(name, cast(Term, term)) for name, term in self.terms.items()]

    @property
    def needs_teacher(self) -> bool:
        """Whether any term asks what the teacher says."""
        return any(term.asks for _, term in self.items())

    @property
    def adapts(self) -> bool:
        """Whether any term changes with its own value."""
        return any(term.adapts for _, term in self.items())

    def check_texts(self, authors: Set[Author], teacher_share: float | None) -> None:
        """Refuses a term that counts the texts of somebody who writes none, or draws otherwise.

        Args:
            authors: who writes.
            teacher_share: see `TargetsPolicy`.

        Raises:
            UserError: at the first such term.
        """
        for name, term in self.items():
            if term.author is not None and term.author not in authors:
                wanted = term.author.name.lower()
                there = ", ".join(sorted(author.name.lower() for author in authors))
                raise UserError(
                    f"loss.{name} counts texts written by {wanted} alone, but the targets policy "
                    f"trains on those of {there}: choose another targets="
                )
            term.check_drawing(teacher_share)

    def begin_step(self, progress: float) -> None:
        """Tells every term how far the training is, in [0, 1)."""
        for _, term in self.items():
            term.begin_step(progress)

    def end_step(self, values: Mapping[str, float], over_ranks: Callable[[Tensor], Tensor]) -> None:
        """Tells every term what it was in this optimizer step; see `Term.end_step`."""
        for name, term in self.items():
            term.end_step(values[name], over_ranks)

    def forward(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term's weighted sum over the batch's target tokens, in nats."""
        return {
            name: term.current_weight * term(student, signal, batch) for name, term in self.items()
        }
