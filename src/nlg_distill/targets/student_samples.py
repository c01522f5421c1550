"""The student's own text: on-policy distillation.

Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes",
2024, https://arxiv.org/abs/2306.13649 (GKD, with lambda = 1). There is no gradient
through the drawing.
"""

from nlg_distill.data.batch import Author, Batch
from nlg_distill.targets.policy import OnlinePolicy, Sampling, Writers


class StudentSamples(OnlinePolicy):
    """Each batch's sources, with texts that the student as it is now draws for them."""

    author = Author.STUDENT
    needs_trained_student = True

    def __init__(self, *, sampling: Sampling) -> None:
        """`sampling` is how the student draws."""
        super().__init__(sampling=sampling)
        self.teacher_share = 0.0 if sampling.plain else None

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The sources with the student's texts."""
        return self.sampling.rewrite(writers.student, batch, writers.special)
