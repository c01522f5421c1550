"""The text of a black box: sequence-level distillation (Seq-KD) from a program that only writes.

Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 3.2, with the text that the program gives in the place of a beam's best.
"""

from collections.abc import Sequence

from nlg_distill.data.batch import Author
from nlg_distill.data.corpus import Pair
from nlg_distill.targets.policy import TargetsPolicy, TeacherText
from nlg_distill.teachers.black_box import BlackBox


class BlackBoxText(TargetsPolicy):
    """The one text that a black box wrote for a source."""

    author = Author.TEACHER

    def __init__(self, *, writing: BlackBox) -> None:
        """`writing` is the black box."""
        super().__init__()
        self.writing = writing

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The text."""
        (only,) = hypotheses
        return only.text
