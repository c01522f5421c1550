"""Which target positions count more: factors of a divergence, without gradient."""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.distributions import entropy, log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.nll import nll
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal


@runtime_checkable
class TokenWeights(Protocol):
    """Gives a factor for every target position."""

    needs_distribution: bool
    """Whether it reads the teacher's probabilities, of which stored draws tell too little."""

    def __call__(
        self,
        student: ModelOutput,
        signal: TeacherSignal,
        batch: Batch,
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time"]:
        """Factors of at least 0; `mask` is True where the term counts."""
        ...


class TeacherEntropyWeights:
    """More where the teacher is unsure: its entropy over the largest there can be, in [0, 1].

    Of a sparse signal, the entropy over its k tokens and the bucket of all others.
    """

    needs_distribution = True

    @torch.no_grad()
    def __call__(
        self,
        student: ModelOutput,
        signal: TeacherSignal,
        batch: Batch,
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time"]:
        """Normalised entropy of the teacher at each position."""
        if signal.sparse is None:
            teacher = log_probs(signal.logits)
        else:
            _, teacher = signal.sparse.buckets(student.logits)
        return entropy(teacher) / math.log(teacher.shape[-1])


class StudentLossWeights:
    """1 at the positions that the student finds hardest of those that the term counts, 0 elsewhere.

    Wang et al., "Selective Knowledge Distillation for Neural Machine Translation", 2021,
    https://arxiv.org/abs/2105.12967, the batch-level selection. The choice is made within a
    micro-batch, so it is the one place where a loss depends on how a batch is split.
    """

    needs_distribution = False

    def __init__(self, *, share: float) -> None:
        """`share` of the term's target positions that count, in (0, 1).

        Raises:
            UserError: if it is outside.
        """
        if not 0 < share < 1:
            raise UserError(f"share must be in (0, 1), got {share}")
        self.share = share

    @torch.no_grad()
    def __call__(
        self,
        student: ModelOutput,
        signal: TeacherSignal,
        batch: Batch,
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time"]:
        """1 or 0 for each position; those where the term counts are compared with each other."""
        losses = nll(student.logits, batch.labels)
        if not mask.any():
            return torch.zeros_like(losses)
        threshold = losses[mask].quantile(1 - self.share)
        return (losses >= threshold).to(losses.dtype)
