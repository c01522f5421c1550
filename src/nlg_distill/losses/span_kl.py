r"""Binary KL of spans of text, for tokenizers that differ.

After Minixhofer, Vulić and Ponti, "Universal Cross-Tokenizer Distillation via Approximate
Likelihood Matching", 2025, https://arxiv.org/abs/2503.20083, which compares the likelihoods of
aligned chunks of text.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from nlg_distill.data.batch import IGNORE_INDEX, Batch
from nlg_distill.distributions import LOWEST, log_probs
from nlg_distill.losses.divergence import refuse_other_vocabulary
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal


def span_log_odds(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    begins: Bool[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    r"""$\log P - \log(1 - P)$ of every span, $P = \prod_i p_i$ over the labels in it, in nats.

    $1 - P = \sum_i (1 - p_i) \prod_{k<i} p_k$ is added up in log space, with $1 - p_i$ as the sum
    of all other tokens: exact also where $P$ is near 0 or 1.

    Args:
        logits: unnormalised scores.
        labels: what they predict; `IGNORE_INDEX` is part of no span.
        begins: True at the first token of each span, the first of a text among them. A span goes
            on until the next one, or to the end of its text.

    Returns:
        The log-odds at the first token of each span, 0 elsewhere.
    """
    counted = labels != IGNORE_INDEX
    known = log_probs(logits[counted])  # [tokens, vocab]
    label = labels[counted][:, None]
    said = known.gather(-1, label)[:, 0]
    others = known.scatter(-1, label, LOWEST).logsumexp(dim=-1).clamp(min=LOWEST)

    first = begins[counted]
    span, starts = first.cumsum(0) - 1, first.nonzero()[:, 0]
    place = torch.arange(len(span), device=span.device) - starts[span]  # in the span, from 0
    shape = (len(starts), int(place.max()) + 1 if len(place) else 1)
    yes = known.new_zeros(shape).index_put((span, place), said)
    no = known.new_full(shape, LOWEST).index_put((span, place), others)
    before = pad(yes.cumsum(dim=1)[:, :-1], (1, 0))
    odds = yes.sum(dim=1) - (before + no).logsumexp(dim=1)
    return known.new_zeros(labels.shape).index_put((begins,), odds)


def span_kl(
    student_logits: Float[Tensor, "batch time vocab"],
    teacher_log_odds: Float[Tensor, "batch time"],
    labels: Int[Tensor, "batch time"],
    begins: Bool[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    r"""$P \log\frac{P}{Q} + (1 - P) \log\frac{1 - P}{1 - Q}$ of every span, in nats.

    $P$ is the teacher's probability of the span's text, the product over its own tokens, $Q$ the
    student's, over other tokens of the same text; both after the same text. It is the KL of what
    both say comes next, once all texts but this one are the same to it: at most the KL of all that
    they say, since merging outcomes only lowers it. What the teacher thinks of other texts is lost.
    Where all spans are of one token, it is the label's part of `decoupled_kl`.

    What it takes for granted: that a text's probability is that of the tokens it is encoded with,
    though other tokens may spell it too; and that a span ends on both sides for the same reason,
    though a token also says that no longer token stands there.

    Deviations from the paper: no temperature of the likelihoods, and every span that both sides
    share counts the same, however sure the teacher is that it ends there.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        teacher_log_odds: log P - log(1 - P) at the first token of each span.
        labels: the student's tokens of the text.
        begins: True at the first token of each span; see `span_log_odds`.

    Returns:
        One non-negative value at the first token of each span, 0 elsewhere; not reduced.
    """
    student_log_odds = span_log_odds(student_logits, labels, begins)
    p, q = logsigmoid(teacher_log_odds), logsigmoid(student_log_odds)
    not_p, not_q = logsigmoid(-teacher_log_odds), logsigmoid(-student_log_odds)
    values = p.exp() * (p - q) + not_p.exp() * (not_p - not_q)
    return values.masked_fill(~begins, 0.0)


class SpanTerm(Term):
    """`span_kl` of the spans that both tokenizers share; of every token where there is one."""

    asks = frozenset({Gives.SPANS})

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
    ) -> None:
        """`loss` is `span_kl`, or takes what it does; the rest is as in `Term`."""
        super().__init__(weight=weight, anneal=anneal, written_by=written_by)
        self.loss = loss

    def rehearse(self) -> None:
        """Compares two uniform distributions."""
        labels = torch.zeros(1, 1, dtype=torch.long)
        self.loss(torch.zeros(1, 1, 4), torch.zeros(1, 1), labels, labels == 0)

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The divergence of each span at its first token, 0 at the others.

        Raises:
            UserError: if the teacher's tokens are others, and nobody aligned them.
        """
        begins, odds = batch.target_mask, signal.span_log_odds
        if odds is None:
            refuse_other_vocabulary(student.logits, signal.logits)
            odds = span_log_odds(signal.logits, batch.labels, begins)
        else:
            begins = begins & ~odds.isnan()
        compared = odds.isfinite()
        values = self.loss(student.logits, odds.masked_fill(~compared, 0.0), batch.labels, begins)
        return values.masked_fill(~compared, 0.0)
