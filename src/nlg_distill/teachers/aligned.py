"""A teacher with a tokenizer of its own, which reads the same texts in other tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hydra.utils import get_class
from jaxtyping import Bool
from torch import Tensor, nn

from nlg_distill.data.batch import Batch, Example, SpecialIds, collate
from nlg_distill.data.spans import Alignment
from nlg_distill.losses.span_kl import span_log_odds
from nlg_distill.models import GenerationModel
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.modes import refuse_nan
from nlg_distill.teachers.piece_mapping import PieceMapping
from nlg_distill.teachers.signal import ACROSS_TOKENIZERS, AlikePositions, Gives, TeacherSignal
from nlg_distill.teachers.source import TeacherSource


class AlignedTeacher:
    """Runs a source on the batch's texts as its own tokenizer has them, and aligns what it says.

    It knows the texts that are there before training, by the numbers of their examples.
    """

    needs_model = True

    def __init__(
        self,
        source: TeacherSource,
        special: SpecialIds,
        examples: Sequence[Example],
        alignments: Sequence[Alignment],
        mapping: PieceMapping,
    ) -> None:
        """Keeps the source and its tokens.

        Args:
            source: of models that share the other tokenizer.
            special: of that tokenizer.
            examples: all texts that are trained on, as it has them, numbered from 0.
            alignments: of each example, the student's tokens (ours) with these (theirs).
            mapping: of this vocabulary to the student's.
        """
        self.source, self.special = source, special
        self.examples, self.alignments, self.mapping = examples, alignments, mapping

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """All that the source gives but inner states, and text to train on."""
        source: Any = get_class(settings["_target_"])
        given: frozenset[Gives] = source.gives(settings)
        return given & ACROSS_TOKENIZERS

    @property
    def model(self) -> GenerationModel | None:
        """None that could write for the student: its tokens are others."""
        return None

    def to(self, device: torch.device) -> None:
        """Moves the source to where the student trains."""
        self.source.to(device)
        self.mapping.to(device)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """As the source does, of the same texts in its own tokens."""
        self.source.refuse_too_long([self.examples[example.example_id] for example in examples])

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherSignal:
        """What the source says about the same texts, at the student's positions."""
        numbers, device = batch.example_ids.tolist(), batch.labels.device
        known = [self.alignments[number] for number in numbers]
        lengths = batch.target_mask.sum(dim=1).tolist()
        assert [a.lengths[0] for a in known] == lengths, "a text that is not the aligned one"
        theirs = collate([self.examples[number] for number in numbers], self.special).to(device)
        output = self._output(theirs)
        begins = _marked([a.theirs for a in known], theirs.labels)
        odds = span_log_odds(output.logits, theirs.labels, begins)
        refuse_nan(odds[begins], batch)
        at_ours = torch.full(batch.labels.shape, torch.nan, device=device, dtype=odds.dtype)
        at_ours[_marked([a.ours for a in known], batch.labels)] = odds[begins]
        unspelled = [_kept(a.ours, [not told for told in a.spelled]) for a in known]
        at_ours[_marked(unspelled, batch.labels)] = torch.inf
        alike = AlikePositions(
            _marked([_kept(a.ours, a.alike) for a in known], batch.labels),
            ModelOutput(
                output.hidden[_marked([_kept(a.theirs, a.alike) for a in known], theirs.labels)],
                output.projection,
            ),
            self.mapping,
        )
        return TeacherSignal(span_log_odds=at_ours, alike=alike, known=alike.mask)

    def _output(self, batch: Batch) -> ModelOutput:
        """Of the one model that runs; the logits of several stand where hidden states would."""
        signal = self.source(batch)
        return signal.output or ModelOutput(signal.logits, nn.Identity())


def aligned_share(alignments: Sequence[Alignment]) -> float:
    """The share of the student's target tokens, end tokens included, that begin a span."""
    spans = sum(len(alignment.ours) for alignment in alignments)
    return spans / sum(alignment.lengths[0] for alignment in alignments)


def _kept(numbers: Sequence[int], flags: Sequence[bool]) -> list[int]:
    return [number for number, flag in zip(numbers, flags, strict=True) if flag]


def _marked(rows: Sequence[Sequence[int]], like: Tensor) -> Bool[Tensor, "batch time"]:
    """True at these positions of each row; row by row, they are in order."""
    marks = torch.zeros(like.shape, dtype=torch.bool)
    for row, positions in enumerate(rows):
        marks[row, list(positions)] = True
    return marks.to(like.device)
