"""Skew divergences with a share of the other side that adapts to each text.

Ko et al., "DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs", 2025,
https://arxiv.org/abs/2503.07067, the part on curriculum-based adaptive learning.
"""

import inspect
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from nlg_distill.data.batch import Author, Batch
from nlg_distill.distributions import log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.divergence import VocabularyTerm
from nlg_distill.losses.skew_forward_kl import skew_forward_kl
from nlg_distill.losses.skew_reverse_kl import skew_reverse_kl
from nlg_distill.losses.term import Schedule

SMALLEST = 0.01


class AdaptiveSkewTerm(VocabularyTerm):
    r"""`skew_forward_kl` or `skew_reverse_kl` with an $\alpha$ for every text.

    $$\alpha = \mathrm{clip}\big(1 - (1-\alpha_0) \, m / g, \; 0.01, \; \alpha_0\big)$$

    with the loss's own $\alpha$ as $\alpha_0$. $g$ is the gap $\hat p - \hat q$ of what both sides
    give the text's tokens, in the geometric mean, and $\hat q - \hat p$ where the student wrote
    it; $m$ is its running mean, a buffer and hence in the checkpoint. A text with a gap below the
    mean, but above 0, is compared more sharply. No gradient flows through $\alpha$.

    Deviation: the published code takes $m$ from the epoch before, here it is an exponential mean
    over optimizer steps; before the first, $\alpha$ is $\alpha_0$.
    """

    adapts = True
    mean_gap: Tensor

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        momentum: float = 0.9,
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
    ) -> None:
        """`momentum`, in [0, 1), is how slowly the mean gap changes; the rest as in `Term`.

        Raises:
            UserError: if it is outside, or the loss is another, or its `alpha` not above 0.01.
        """
        super().__init__(loss=loss, weight=weight, anneal=anneal, written_by=written_by)
        if not 0 <= momentum < 1:
            raise UserError(f"momentum must be in [0, 1), got {momentum}")
        function = getattr(loss, "func", loss)
        if function not in (skew_forward_kl, skew_reverse_kl):
            raise UserError(
                f"{function.__name__} has no alpha that could adapt: use skew_forward_kl or "
                f"skew_reverse_kl"
            )
        self.momentum = momentum
        self.largest: float = inspect.signature(loss).parameters["alpha"].default
        if not SMALLEST < self.largest < 1:
            raise UserError(
                f"alpha must be in ({SMALLEST}, 1) where it adapts, got {self.largest}: it is the "
                f"largest that a text can have"
            )
        self.register_buffer("mean_gap", torch.tensor(math.nan))
        self.seen = torch.zeros(2)  # sum of gaps, texts; no buffer: each rank has its own

    def compare(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
        **settings: float,
    ) -> Float[Tensor, "batch time"]:
        """The loss of the two sides, with each text's own alpha."""
        gaps = self.gaps(student_logits, teacher_logits, batch)
        counted = self.mask(batch).any(dim=1)
        if self.training:
            self.seen = self.seen.to(gaps) + torch.stack([gaps[counted].sum(), counted.sum()])
        if self.mean_gap.isnan():
            return self.loss(student_logits, teacher_logits, **settings)
        ratio = self.mean_gap / gaps.where(gaps != 0, torch.finfo(gaps.dtype).tiny)
        alpha = (1 - (1 - self.largest) * ratio).clamp(SMALLEST, self.largest)
        return self.loss(student_logits, teacher_logits, alpha=alpha[:, None], **settings)

    @torch.no_grad()
    def gaps(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
    ) -> Float[Tensor, " batch"]:
        """How much more its author's side gives each text's tokens, in the geometric mean."""
        labels, mask = batch.labels.clamp(min=0)[..., None], batch.target_mask
        means = []
        for logits in (student_logits, teacher_logits):
            given = log_probs(logits).gather(-1, labels)[..., 0].masked_fill(~mask, 0.0)
            means.append((given.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).exp())
        ours, theirs = means
        return torch.where(batch.authors == Author.STUDENT, ours - theirs, theirs - ours)

    def end_step(self, value: float, over_ranks: Callable[[Tensor], Tensor]) -> None:
        """Moves the mean gap by that of the step's texts, of all ranks."""
        total = over_ranks(self.seen.to(self.mean_gap))
        if total[1] > 0:
            gap = total[0] / total[1]
            known = gap if self.mean_gap.isnan() else self.mean_gap
            self.mean_gap.copy_(self.momentum * known + (1 - self.momentum) * gap)
        self.seen = torch.zeros(2)
