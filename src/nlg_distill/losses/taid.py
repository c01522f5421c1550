"""Temporally adaptive interpolated distillation (TAID).

Shing, Misaki, Bao, Yokoi and Akiba, "TAID: Temporally Adaptive Interpolated Distillation for
Efficient Knowledge Transfer in Language Models", 2025, https://arxiv.org/abs/2501.16937, the
intermediate teacher and the adaptive update of t.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.distributions import LOWEST, kl, log_probs, tau_squared
from nlg_distill.errors import UserError
from nlg_distill.losses.divergence import VocabularyTerm
from nlg_distill.losses.token_weights import TokenWeights


def taid(
    student_logits: Float[Tensor, "*tokens vocab"],
    teacher_logits: Float[Tensor, "*tokens vocab"],
    *,
    t: float | Float[Tensor, ""],
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $\tau^2 \, \mathrm{KL}(r \,\|\, q)$ to an intermediate teacher $r$, in nats.

    $r = \mathrm{softmax}((1-t) z_S / \tau + t z_T / \tau)$ stands between the student's logits
    $z_S$, through which no gradient flows here, and the teacher's $z_T$: the student itself at
    $t = 0$, where value and gradient are 0, and the teacher at $t = 1$, where this is forward KL.

    Deviation: the temperature and its factor $\tau^2$ are not in the paper.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary; `-inf` is probability zero.
        t: how far the intermediate teacher is from the student, in [0, 1].
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One non-negative value for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive, or `t` a number outside [0, 1].
    """
    if not isinstance(t, Tensor) and not 0 <= t <= 1:
        raise UserError(f"t must be in [0, 1], got {t}")
    student = log_probs(student_logits, temperature)
    teacher = log_probs(teacher_logits, temperature)
    # Log-probabilities are logits less a constant, and finite where a logit is -inf.
    between = ((1 - t) * student.detach() + t * teacher).log_softmax(dim=-1).clamp(min=LOWEST)
    return tau_squared(temperature, scale_by_temperature) * kl(between, student)


class TAIDTerm(VocabularyTerm):
    r"""The divergence `taid`, with $t$ as its state.

    $t$ starts at `start` and never falls. Before each step it is at least
    `start` + (1 - `start`) * progress; after each, with the loss $L_n$ of the step,

    $$\delta_n = (L_{n-1} - L_n) / L_{n-1}, \quad
    m_n = \mu m_{n-1} + (1-\mu) \delta_n, \quad
    t \leftarrow \min(1, t + \eta \, \sigma(m_n) (1 - t)),$$

    $\mu$ the `momentum` and $\eta$ the `step_size`: faster while the loss falls. $t$, $m$ and $L$
    are buffers, hence in the checkpoint. Neither weight nor temperature follows a schedule: what
    changes of its own would be taken for a loss that does.
    """

    adapts = True
    t: Tensor
    trend: Tensor
    previous: Tensor

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        start: float = 0.4,
        momentum: float = 0.99,
        step_size: float = 5e-4,
        weight: float = 1.0,
        written_by: str | None = None,
        token_weights: TokenWeights | None = None,
    ) -> None:
        """Keeps the loss and the first $t$.

        Args:
            loss: `taid`, which is also told `t`.
            start: the first $t$, in [0, 1); with 0 the first step learns nothing.
            momentum: how slowly the trend of the loss changes, in [0, 1).
            step_size: the largest share of the way to 1 that one step takes beside progress.
            weight: see `Term`.
            written_by: see `Term`.
            token_weights: see `DivergenceTerm`.

        Raises:
            UserError: if a value is out of range.
        """
        super().__init__(
            loss=loss, weight=weight, written_by=written_by, token_weights=token_weights
        )
        for name, value in (("start", start), ("momentum", momentum), ("step_size", step_size)):
            if not 0 <= value < 1:
                raise UserError(f"{name} must be in [0, 1), got {value}")
        self.start, self.momentum, self.step_size = start, momentum, step_size
        self.register_buffer("t", torch.tensor(float(start)))
        self.register_buffer("trend", torch.zeros(()))
        self.register_buffer("previous", torch.tensor(math.nan))

    def begin_step(self, progress: float) -> None:
        """Keeps $t$ on or above the straight line."""
        super().begin_step(progress)
        self.t.clamp_(min=self.start + (1 - self.start) * progress)

    def end_step(self, value: float, over_ranks: Callable[[Tensor], Tensor]) -> None:
        r"""Moves $t$ by how the loss has changed.

        A step whose loss is 0 or less tells nothing: none of its texts counted, student and
        teacher were equal ($t$ = 0), or it was rounded. $\delta$ of the next step would divide by
        it, so the last positive one stays the one to compare with.
        """
        if value <= 0:
            return
        if self.previous.isnan():
            self.previous.fill_(value)
            return
        change = (self.previous - value) / self.previous
        self.trend.mul_(self.momentum).add_((1 - self.momentum) * change)
        self.t.add_(self.step_size * self.trend.sigmoid() * (1 - self.t)).clamp_(max=1.0)
        self.previous.fill_(value)

    def compare(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
        **settings: float,
    ) -> Float[Tensor, "batch time"]:
        """The loss of the two sides at the present $t$."""
        return self.loss(student_logits, teacher_logits, t=self.t, **settings)
