"""The teacher's best text: sequence-level distillation (Seq-KD).

Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 3.2: the teacher's distribution over texts is replaced by its mode, found by beam search.
The student learns to end every text where it ends, also one that the length limit cut.
"""

from collections.abc import Sequence

from nlg_distill.data.batch import Author
from nlg_distill.data.corpus import Pair
from nlg_distill.targets.policy import Beam, TargetsPolicy, TeacherText


class TeacherBeam(TargetsPolicy):
    """The first text of the teacher's beam."""

    author = Author.TEACHER

    def __init__(self, *, writing: Beam) -> None:
        """`writing` is how the teacher writes."""
        super().__init__()
        self.writing = writing

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The teacher's best text."""
        return hypotheses[0].text
