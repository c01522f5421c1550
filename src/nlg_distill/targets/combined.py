"""One writer made of two: the student and the teacher decide about every token together.

What is drawn at a step has a closed form in the two next-token distributions, so that an ordinary
sampler draws it: no token is proposed and thrown away.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nlg_distill.decoding import DecoderState
from nlg_distill.distributions import log_probs
from nlg_distill.models import GenerationModel, ModelOutput

Combine = Callable[[Tensor, Tensor], Tensor]
"""Log-probabilities of student and teacher to those that a token is drawn from."""


@dataclass(frozen=True)
class BothStates:
    """Where student and teacher are in the same text."""

    student: DecoderState
    teacher: DecoderState

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "BothStates":
        """Hypothesis `b` of source `s` continues from hypothesis `parents[s, b]`."""
        return BothStates(self.student.reorder(parents), self.teacher.reorder(parents))

    def keep(self, sources: Int[Tensor, " kept"]) -> "BothStates":
        """The state of these sources alone."""
        return BothStates(self.student.keep(sources), self.teacher.keep(sources))


class CombinedWriter:
    """A model with a step interface whose distribution combines two models'."""

    def __init__(
        self, student: GenerationModel, teacher: GenerationModel, combine: Combine
    ) -> None:
        """Both models share the tokenizer; `combine` is told nothing but their distributions."""
        self.student, self.teacher, self.combine = student, teacher, combine

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """That of the model with less."""
        return torch.minimum(self.student.room(source_mask), self.teacher.room(source_mask))

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> BothStates:
        """Both read the sources."""
        return BothStates(
            self.student.start(source_ids, source_mask), self.teacher.start(source_ids, source_mask)
        )

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: BothStates
    ) -> tuple[ModelOutput, BothStates]:
        """Both read the token; the combined distribution stands where hidden states would."""
        student, student_state = self.student.step(token_ids, state.student)
        teacher, teacher_state = self.teacher.step(token_ids, state.teacher)
        combined = self.combine(log_probs(student.logits), log_probs(teacher.logits))
        return ModelOutput(combined, nn.Identity()), BothStates(student_state, teacher_state)


def verified(
    student: Float[Tensor, "*tokens vocab"], teacher: Float[Tensor, "*tokens vocab"], *, k: int
) -> Float[Tensor, "*tokens vocab"]:
    """The student's proposal if it is among the teacher's `k` largest, else a teacher's token.

    The student's mass outside them is handed out as the teacher's distribution says.
    """
    allowed = torch.zeros_like(student, dtype=torch.bool)
    allowed.scatter_(-1, teacher.topk(min(k, teacher.shape[-1]), dim=-1).indices, True)
    accepted = student.masked_fill(~allowed, float("-inf"))
    rejected = student.masked_fill(allowed, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.logaddexp(accepted, teacher + rejected)
