"""Reverse KL of whole texts, by policy gradient: MiniLLM.

Gu et al., "MiniLLM: Knowledge Distillation of Large Language Models", 2024,
https://arxiv.org/abs/2306.08543, the part on the optimization with policy gradient.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nlg_distill.data.batch import Author, Batch
from nlg_distill.distributions import kl, log_mixture, log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal

REMEDY = (
    "learns from texts drawn from the models' own distributions: set targets=teacher_mixed, or "
    "targets=student_samples loss.policy_gradient.alpha=0 with targets.sampling at temperature 1 "
    "and without top_k and top_p"
)


def rewards_to_go(
    rewards: Float[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    length_normalize: bool,
) -> Float[Tensor, "batch time"]:
    r"""What follows each token: $\sum_{t' > t} r_{t'}$, over their number if `length_normalize`."""
    counted = rewards.masked_fill(~mask, 0.0)
    later = counted.flip(1).cumsum(1).flip(1) - counted
    if not length_normalize:
        return later
    left = mask.flip(1).cumsum(1).flip(1) - mask.long()
    return later / left.clamp(min=1)


class PolicyGradientTerm(Term):
    r"""$\mathrm{KL}(q \,\|\, p)$ of texts drawn from $\alpha p + (1-\alpha) q$, in nats per token.

    Three parts of the gradient. *Single-step*: at every position the
    exact $\mathrm{KL}(q \,\|\, p)$ of the next token. *Long*: $-w_t R_{t+1} \log q(y_t)$ with
    $r_t = \log p(y_t) - \log q(y_t)$ and $R$ what follows, length-normalised; the factor of
    $\log q$ has no gradient, so the value is a surrogate, and only its gradient has a meaning.
    *Teacher-mixed sampling*: $w_t = q / (\alpha p + (1-\alpha) q)$ of the token, the paper's
    one-step approximation, at most $1 + \epsilon$ in both parts. The switches are the paper's
    ablations.

    Deviation: the paper clips as PPO does, by the sign of the gain; here every text has one update,
    and what is clipped is the weight alone.
    """

    needs_teacher = True

    def __init__(
        self,
        *,
        alpha: float | None,
        weight: float = 1.0,
        single_step: bool = True,
        length_normalize: bool = True,
        clip: float = 0.2,
        anneal: Schedule | None = None,
    ) -> None:
        """Keeps the settings.

        Args:
            alpha: the teacher's share when the text was drawn: that of targets=teacher_mixed, 0
                for targets=student_samples.
            weight: see `Term`.
            single_step: take the next token's part exactly instead of by sampling.
            length_normalize: divide what follows by its length, against short texts.
            clip: the importance weight is kept at most 1 + `clip`.
            anneal: see `Term`.

        Raises:
            UserError: if `alpha` is outside [0, 1) or `clip` negative.
        """
        super().__init__(weight=weight, anneal=anneal, written_by=Author.STUDENT.name.lower())
        if alpha is None:
            raise UserError(f"policy_gradient {REMEDY}")
        if not 0 <= alpha < 1:
            raise UserError(f"alpha must be in [0, 1), got {alpha}")
        if clip < 0:
            raise UserError(f"clip must not be negative, got {clip}")
        self.alpha, self.clip = alpha, clip
        self.single_step, self.length_normalize = single_step, length_normalize

    def check_drawing(self, teacher_share: float | None) -> None:
        """Refuses texts that were not drawn with `alpha`: the weights would be wrong.

        Raises:
            UserError: if `alpha` is another, or the texts are drawn from neither model as it is.
        """
        if teacher_share is None:
            raise UserError(f"policy_gradient {REMEDY}")
        if teacher_share != self.alpha:
            raise UserError(
                f"policy_gradient has alpha={self.alpha}, but the teacher's share in what texts "
                f"are drawn from is {teacher_share}: leave loss.policy_gradient.alpha out and set "
                f"targets.alpha, or, with targets=student_samples, loss.policy_gradient.alpha=0"
            )

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The surrogate at every position of the students' texts."""
        ours, theirs = log_probs(student.logits), log_probs(signal.logits)
        labels = batch.labels.clamp(min=0)[..., None]
        q, p = ours.gather(-1, labels)[..., 0], theirs.gather(-1, labels)[..., 0]
        mask = self.mask(batch)
        with torch.no_grad():
            reward = p - q
            later = rewards_to_go(reward, mask, length_normalize=self.length_normalize)
            drawn = log_mixture(p, q, self.alpha)
            importance = (q - drawn).exp().clamp(max=1 + self.clip)
            gain = later if self.single_step else later + reward
        values = -importance * gain * q
        if self.single_step:
            values = values + importance * kl(ours, theirs)
        return values
