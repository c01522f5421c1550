"""Some batches with the student's own text, the others with given text.

Agarwal et al., "On-Policy Distillation of Language Models", 2024, https://arxiv.org/abs/2306.13649,
algorithm 1: with probability lambda a batch is on-policy. Lin et al., "Autoregressive Knowledge
Distillation through Imitation Learning" (ImitKD), 2020, https://arxiv.org/abs/2009.07253,
lets the share grow, here by any schedule; it draws for each text whose it is, here, as GKD does,
for each batch.
"""

from collections.abc import Sequence

import torch

from nlg_distill.data.batch import Author, Batch
from nlg_distill.data.corpus import Pair
from nlg_distill.errors import UserError
from nlg_distill.losses.term import Schedule
from nlg_distill.targets.policy import TargetsPolicy, TeacherText, Writers


class Mixture(TargetsPolicy):
    """Each batch is drawn anew: `share` of them on-policy, the rest as `otherwise` gives them."""

    beside = frozenset({Author.STUDENT})
    online = True
    needs_trained_student = True

    def __init__(
        self, *, share: float | Schedule, own: TargetsPolicy, otherwise: TargetsPolicy
    ) -> None:
        """Combines two policies.

        Args:
            share: probability in (0, 1) that a batch is `own`, or a function of progress.
            own: a policy that trains on nothing but what the student alone writes. One that mixes
                in other text would have a share of its own.
            otherwise: a policy whose text is there before.

        Raises:
            UserError: if a policy is in the wrong place, a share is outside [0, 1], or a constant
                one leaves a policy unused.
        """
        super().__init__()
        if not callable(share) and not 0 < share < 1:
            raise UserError(
                f"share must be between 0 and 1, got {share}: choose one policy instead"
            )
        ends = [share(0.0), share(1.0)] if callable(share) else []
        if any(not 0 <= end <= 1 for end in ends):
            raise UserError(f"share must stay in [0, 1], but goes from {ends[0]} to {ends[1]}")
        if (
            not own.online
            or own.authors != {Author.STUDENT}
            or own.needs_live_teacher
            or own.writing is not None
        ):
            raise UserError(
                f"own={type(own).__name__} is not the student's own text alone: a mixture takes a "
                f"policy such as student_samples as own; choose the other by itself, as targets="
            )
        if otherwise.online:
            raise UserError(
                f"otherwise={type(otherwise).__name__} writes during training: a mixture takes a "
                f"policy whose text is there before as otherwise, such as gold"
            )
        self.share, self.own, self.otherwise = share, own, otherwise
        self.writing = otherwise.writing
        self.author = otherwise.author

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """What `otherwise` picks."""
        return self.otherwise.pick(pair, hypotheses)

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The batch of one of the two."""
        own = float(torch.rand(())) < self.on_policy_share(progress)
        chosen = self.own if own else self.otherwise
        mixed: Batch = chosen(batch, writers, progress)
        return mixed

    def on_policy_share(self, progress: float) -> float:
        """The share as it is now."""
        return self.share(progress) if callable(self.share) else self.share

    def after_validation(self, nll: float) -> None:
        """Tells both."""
        self.own.after_validation(nll)
        self.otherwise.after_validation(nll)
