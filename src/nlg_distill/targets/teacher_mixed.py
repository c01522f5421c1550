"""Text drawn from a mixture of teacher and student: the sampling of MiniLLM.

Gu et al., "MiniLLM: Knowledge Distillation of Large Language Models", 2024,
https://arxiv.org/abs/2306.08543, section 2.2: tokens from
alpha p + (1 - alpha) q, which keeps a student from cheating the reward with degenerate text. The
importance weights are the business of the loss `policy_gradient`.
"""

from collections.abc import Mapping
from typing import Any

from nlg_distill.data.batch import Author, Batch, joined
from nlg_distill.distributions import log_mixture
from nlg_distill.errors import UserError
from nlg_distill.targets.combined import CombinedWriter
from nlg_distill.targets.policy import OnlinePolicy, Sampling, Writers


class TeacherMixedSamples(OnlinePolicy):
    """Texts that both models write together, beside the gold texts of the same sources."""

    beside = frozenset({Author.STUDENT})
    needs_live_teacher = True

    def __init__(self, *, alpha: float, sampling: Sampling) -> None:
        """`alpha` is the teacher's share of every token's distribution, in [0, 1).

        Raises:
            UserError: if it is outside, or `sampling` changes the distribution.
        """
        super().__init__(sampling=sampling)
        if not 0 <= alpha < 1:
            raise UserError(f"alpha must be in [0, 1), got {alpha}")
        if not sampling.plain:
            raise UserError(
                f"the weights of a mixture's tokens are known where they are drawn as they are: "
                f"set sampling_temperature=1 and leave out top_k and top_p, got {sampling}"
            )
        self.alpha, self.teacher_share = alpha, alpha
        self.needs_trained_student = alpha == 0

    @classmethod
    def student_writes_alone(cls, settings: Mapping[str, Any]) -> bool:
        """Whether the teacher has no share in the drawing."""
        return bool(settings["alpha"] == 0)

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """Every source twice: with its gold text, and with the text drawn now."""
        assert writers.teacher is not None
        writer = CombinedWriter(
            writers.student,
            writers.teacher,
            lambda student, teacher: log_mixture(teacher, student, self.alpha),
        )
        drawing = writer if self.alpha else writers.student
        own = self.sampling.rewrite(drawing, batch, writers.special)
        return joined(batch, own, writers.special)
