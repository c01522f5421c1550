"""Texts drawn from the teacher: its distribution over texts, not only the mode.

Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 3.2: an expectation over the teacher's texts, which Seq-KD replaces by the mode.
"""

from collections.abc import Sequence

from nlg_distill.data.batch import Author
from nlg_distill.data.corpus import Pair
from nlg_distill.targets.policy import Sampling, TargetsPolicy, TeacherText


class TeacherSamples(TargetsPolicy):
    """One text drawn from the teacher for each source."""

    author = Author.TEACHER

    def __init__(self, *, writing: Sampling) -> None:
        """`writing` is how the teacher draws.

        Raises:
            UserError: if more than one text is drawn for a source.
        """
        super().__init__()
        writing.require_one_text()
        self.writing = writing

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The text that was drawn."""
        return hypotheses[0].text
