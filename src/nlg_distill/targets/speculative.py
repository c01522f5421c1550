"""Text that the student proposes and the teacher corrects, token by token.

Xu et al., "Speculative Knowledge Distillation: Bridging the Teacher-Student Gap Through Interleaved
Sampling", 2025, https://arxiv.org/abs/2410.11325: a proposed token outside
the teacher's top k is replaced by one drawn from the teacher. Early in training the text is nearly
the teacher's, later nearly the student's.
"""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from nlg_distill.data.batch import Author, Batch
from nlg_distill.distributions import log_probs
from nlg_distill.errors import UserError
from nlg_distill.targets.combined import CombinedWriter, verified
from nlg_distill.targets.policy import OnlinePolicy, Sampling, Writers


class SpeculativeSamples(OnlinePolicy):
    """Each batch's sources, with texts that both models write together."""

    author = Author.STUDENT
    needs_live_teacher = True

    def __init__(self, *, k: int, sampling: Sampling) -> None:
        """Keeps the settings.

        Args:
            k: a proposal must be among the teacher's `k` largest.
            sampling: how the student draws its proposals. Its temperature, `top_k` and `top_p` do
                not touch the tokens that the teacher puts in their place.

        Raises:
            UserError: if `k` is not positive.
        """
        super().__init__(sampling=sampling)
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        self.k = k

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The sources with the common texts."""
        assert writers.teacher is not None
        special = writers.special
        combine = partial(self.combine, no_text=special.never_written)
        writer = CombinedWriter(writers.student, writers.teacher, combine)
        return Sampling().rewrite(writer, batch, special)

    def combine(
        self,
        student: Float[Tensor, "*tokens vocab"],
        teacher: Float[Tensor, "*tokens vocab"],
        *,
        no_text: Sequence[int],
    ) -> Float[Tensor, "*tokens vocab"]:
        """Log-probabilities of the token that is written; `no_text` is never proposed."""
        student = student.clone()
        student[..., no_text] = float("-inf")
        return verified(log_probs(self.sampling.sharpened(student)), teacher, k=self.k)
