"""Whether a teacher's token ids mean what the student's do, and what is done where they do not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel, ModelOutput


class Relation(Enum):
    """How two vocabularies, with the output layers over them, stand to each other."""

    SAME = "same"
    PADDED = "padded"
    OVERLAPPING = "overlapping"
    DISJOINT = "disjoint"


@dataclass(frozen=True)
class VocabularyPlan:
    """What is done with two vocabularies.

    Args:
        relation: how they stand to each other.
        sentence: what that means for this training, for people.
        cut: the teacher's logits are cut to this size; None leaves them.
        problem: why distributions cannot be compared, and the remedy; None where they can.
    """

    relation: Relation
    sentence: str
    cut: int | None = None
    problem: str | None = None

    def refuse_unless_comparable(self) -> None:
        """Raises a UserError where probabilities of the same id are not of the same token."""
        if self.problem is not None:
            raise UserError(self.problem)


def compare_vocabularies(
    student_pieces: Sequence[str],
    teacher_pieces: Sequence[str],
    *,
    student_size: int,
    teacher_size: int,
) -> VocabularyPlan:
    """Compares the pieces of both sides in the order of their ids, and the output layers' sizes.

    Raises:
        UserError: if an output layer is smaller than its vocabulary.
    """
    sides = {"student": (student_pieces, student_size), "teacher": (teacher_pieces, teacher_size)}
    for side, (pieces, size) in sides.items():
        if size < len(pieces):
            raise UserError(
                f"the {side}'s output layer has {size} rows for {len(pieces)} pieces: it belongs "
                f"to another tokenizer"
            )
    if list(student_pieces) == list(teacher_pieces):
        return _same_pieces(len(student_pieces), student_size, teacher_size)
    shared = len(set(student_pieces) & set(teacher_pieces))
    sizes = f"{len(student_pieces)} pieces of the student, {len(teacher_pieces)} of the teacher"
    if shared == 0:
        relation, sentence = Relation.DISJOINT, f"vocabularies are disjoint: {sizes}"
    else:
        relation = Relation.OVERLAPPING
        sentence = f"vocabularies overlap: {sizes}, {shared} in common, but not with the same ids"
    remedy = (
        "the same id is not the same token, so distributions cannot be compared token by token. "
        "Train both with one tokenizer, or give the teacher its own (tokenizer@teacher_tokenizer) "
        "and compare where both cut a text (loss=[nll,forward_kl]) or learn from its text alone "
        "(targets=teacher_beam loss=[nll])"
    )
    return VocabularyPlan(relation, sentence, problem=f"{sentence}: {remedy}")


def _same_pieces(pieces: int, student_size: int, teacher_size: int) -> VocabularyPlan:
    if student_size == teacher_size:
        return VocabularyPlan(
            Relation.SAME,
            f"teacher and student share their {pieces} pieces: logits are compared as they are",
        )
    sizes = f"output layers of {student_size} (student) and {teacher_size} (teacher) rows"
    if teacher_size < student_size:
        sentence = f"the student's output layer is padded: {sizes} for the same {pieces} pieces"
        remedy = f"the teacher says nothing about the others. Give the student {teacher_size} rows"
        return VocabularyPlan(Relation.PADDED, sentence, problem=f"{sentence}: {remedy}")
    return VocabularyPlan(
        Relation.PADDED,
        f"the teacher's output layer is padded: {sizes} for the same {pieces} pieces; no piece has "
        f"an id from {student_size} on, so the teacher's logits are cut to {student_size}",
        cut=student_size,
    )


@torch.no_grad()
def output_size(model: GenerationModel, special: SpecialIds) -> int:
    """How many logits the model gives at a position."""
    output: ModelOutput = model(collate([Example(0, [], [])], special))
    return output.logits.shape[-1]


class _FirstRows(nn.Module):
    def __init__(self, projection: nn.Module, size: int) -> None:
        super().__init__()
        self.projection, self.size = projection, size

    def forward(self, hidden: Float[Tensor, "*tokens hidden"]) -> Float[Tensor, "*tokens vocab"]:
        logits: Tensor = self.projection(hidden)
        return logits[..., : self.size]


class CutModel(GenerationModel):
    """A model without the last rows of its output layer; it gives them no probability."""

    def __init__(self, model: GenerationModel, size: int) -> None:
        """The first `size` logits stay."""
        super().__init__()
        self.model, self.size = model, size

    def forward(self, batch: Any) -> ModelOutput:
        """The model's hidden states, and fewer logits."""
        return self._cut(self.model(batch))

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """As the model does."""
        return self.model.room(source_mask)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """As the model does."""
        self.model.refuse_too_long(examples)

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> Any:
        """As the model does."""
        return self.model.start(source_ids, source_mask)

    def step(self, token_ids: Int[Tensor, "sources beam"], state: Any) -> tuple[ModelOutput, Any]:
        """As the model does, with fewer logits."""
        output, state = self.model.step(token_ids, state)
        return self._cut(output), state

    def _cut(self, output: ModelOutput) -> ModelOutput:
        return replace(output, projection=_FirstRows(output.projection, self.size))
