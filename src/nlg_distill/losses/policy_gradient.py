"""Reverse KL of whole texts, by policy gradient: MiniLLM.

Gu et al., "MiniLLM: Knowledge Distillation of Large Language Models", 2024,
https://arxiv.org/abs/2306.08543, the part on the optimization with policy gradient.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nlg_distill.data.batch import Author, Batch
from nlg_distill.distributions import kl, log_mixture, log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal

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


def policy_gradient(
    student_logits: Float[Tensor, "batch time vocab"],
    teacher_logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    mask: Bool[Tensor, "batch time"],
    *,
    alpha: float,
    single_step: bool,
    length_normalize: bool,
    clip: float,
) -> Float[Tensor, "batch time"]:
    r"""Per-token surrogate of $\mathrm{KL}(q \,\|\, p)$ of texts from $\alpha p + (1-\alpha) q$.

    Three parts of the gradient. *Single-step*: at every position the
    exact $\mathrm{KL}(q \,\|\, p)$ of the next token. *Long*: $-w_t R_{t+1} \log q(y_t)$ with
    $r_t = \log p(y_t) - \log q(y_t)$ and $R$ what follows, length-normalised; the factor of
    $\log q$ has no gradient, so only the gradient of the value has a meaning, in nats.
    *Teacher-mixed sampling*: $w_t = q / (\alpha p + (1-\alpha) q)$ of the token, the paper's
    one-step approximation, at most $1 + \epsilon$ in both parts. The switches are the paper's
    ablations.

    Deviation: the paper clips as PPO does, by the sign of the gain; here every text has one update,
    and what is clipped is the weight alone.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_logits: scores of the teacher, over the same vocabulary.
        labels: the tokens of the texts that were drawn.
        mask: True on those tokens.
        alpha: the teacher's share when the texts were drawn, in [0, 1).
        single_step: take the next token's part exactly instead of by sampling.
        length_normalize: divide what follows by its length, against short texts.
        clip: $\epsilon \ge 0$, the importance weight is kept at most 1 + `clip`.

    Returns:
        One value for each token, not reduced; it may be negative.

    Raises:
        UserError: if `alpha` is outside [0, 1) or `clip` negative.
    """
    if not 0 <= alpha < 1:
        raise UserError(f"alpha must be in [0, 1), got {alpha}")
    if clip < 0:
        raise UserError(f"clip must not be negative, got {clip}")
    ours, theirs = log_probs(student_logits), log_probs(teacher_logits)
    drawn = labels.clamp(min=0)[..., None]  # what is ignored has no token of its own
    q, p = ours.gather(-1, drawn)[..., 0], theirs.gather(-1, drawn)[..., 0]
    with torch.no_grad():
        reward = p - q
        later = rewards_to_go(reward, mask, length_normalize=length_normalize)
        importance = (q - log_mixture(p, q, alpha)).exp().clamp(max=1 + clip)
        gain = later if single_step else later + reward
    values = -importance * gain * q
    if single_step:
        values = values + importance * kl(ours, theirs)
    return values


class PolicyGradientTerm(Term):
    """`policy_gradient` of the student's texts."""

    asks = frozenset({Gives.VOCABULARY})

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        alpha: float | None,
        weight: float = 1.0,
        anneal: Schedule | None = None,
    ) -> None:
        """`alpha` is the teacher's share when the text was drawn; the rest is as in `Term`.

        Args:
            loss: `policy_gradient`, which is also told `alpha`.
            alpha: that of targets=teacher_mixed; 0 for targets=student_samples.
            weight: see `Term`.
            anneal: see `Term`.

        Raises:
            UserError: if there is no `alpha`, since the texts are of other targets.
        """
        super().__init__(weight=weight, anneal=anneal, written_by=Author.STUDENT.name.lower())
        if alpha is None:
            raise UserError(f"policy_gradient {REMEDY}")
        self.loss, self.alpha = loss, alpha

    def rehearse(self) -> None:
        """Takes the loss of one uniform distribution."""
        logits, labels = torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.long)
        self.loss(logits, logits, labels, labels == 0, alpha=self.alpha)

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
        mask = self.mask(batch)
        return self.loss(student.logits, signal.logits, batch.labels, mask, alpha=self.alpha)
