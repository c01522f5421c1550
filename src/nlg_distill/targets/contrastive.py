"""The teacher's text and the student's for the same source, side by side.

Ko et al., "DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs", 2025,
https://arxiv.org/abs/2503.07067: terms of the objective choose by `written_by`.
"""

from collections.abc import Sequence

from nlg_distill.data.batch import Author, Batch, joined
from nlg_distill.data.corpus import Pair
from nlg_distill.targets.policy import Beam, OnlinePolicy, Sampling, TeacherText, Writers


class ContrastivePairs(OnlinePolicy):
    """Every source twice: with the teacher's best text, and with one that the student draws."""

    author = Author.TEACHER
    beside = frozenset({Author.STUDENT})
    needs_trained_student = True

    def __init__(self, *, writing: Beam, sampling: Sampling) -> None:
        """`writing` is how the teacher writes beforehand, `sampling` how the student draws."""
        super().__init__(sampling=sampling)
        self.writing = writing

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The teacher's best text."""
        return hypotheses[0].text

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The batch with both texts of every source."""
        teachers: Batch = super().forward(batch, writers, progress)
        own = self.sampling.rewrite(writers.student, batch, writers.special)
        return joined(teachers, own, writers.special)
