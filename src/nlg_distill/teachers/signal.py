"""What a teacher says about a batch, whichever source it comes from."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nlg_distill.distributions import LOWEST, log_probs
from nlg_distill.errors import UserError
from nlg_distill.models.output import Features, ModelOutput


class Gives(Enum):
    """What a teacher can tell about a batch, and losses and policies may ask for."""

    VOCABULARY = "the probability of every token"
    DISTRIBUTION = "the probability of single tokens"
    SAMPLES = "tokens drawn from the teacher"
    SPANS = "the probability of spans of the text"
    OWN_VOCABULARY = "the probability of every token of its own"
    FEATURES = "inner states"
    WRITING = "text written during training"


ACROSS_TOKENIZERS = frozenset(Gives) - {Gives.FEATURES, Gives.WRITING}
"""What a teacher with other tokens can tell about a student's text."""


@dataclass(frozen=True)
class SparseDistribution:
    """The k most probable tokens at each position, and the mass of all others.

    `tail_log_mass` is the log of the probability outside the k tokens: `LOWEST` where they are the
    whole vocabulary, and nowhere else. Nothing is renormalised.
    """

    token_ids: Int[Tensor, "*tokens k"]
    log_probs: Float[Tensor, "*tokens k"]
    tail_log_mass: Float[Tensor, "*tokens"]

    @classmethod
    def of(cls, logits: Float[Tensor, "*tokens vocab"], k: int) -> "SparseDistribution":
        """The `k` largest of a whole distribution; all of them where the vocabulary is smaller."""
        values, ids = log_probs(logits).topk(min(k, logits.shape[-1]), dim=-1)
        if k >= logits.shape[-1]:  # rounding would leave something
            return cls(ids, values, torch.full_like(values[..., 0], LOWEST))
        return cls(ids, values, log_complement(values))

    def largest(self, k: int) -> "SparseDistribution":
        """The `k` largest of those stored.

        Raises:
            UserError: if fewer are stored, unless they are the whole vocabulary.
        """
        stored = self.token_ids.shape[-1]
        if k > stored and not bool((self.tail_log_mass <= LOWEST).all()):
            raise UserError(f"k={k} tokens are asked for, but the teacher stored {stored}")
        if k >= stored:
            return self
        values, order = self.log_probs.topk(k, dim=-1)
        return SparseDistribution(self.token_ids.gather(-1, order), values, log_complement(values))

    def buckets(
        self, student_logits: Float[Tensor, "*tokens vocab"]
    ) -> tuple[Float[Tensor, "*tokens outcomes"], Float[Tensor, "*tokens outcomes"]]:
        """Student and teacher over k + 1 outcomes, as log-probabilities; the last is the tail."""
        student = log_probs(student_logits)
        known = student.gather(-1, self.token_ids)
        outside = student.scatter(-1, self.token_ids, LOWEST).logsumexp(dim=-1).clamp(min=LOWEST)
        teacher = torch.cat([self.log_probs, self.tail_log_mass[..., None]], dim=-1)
        return torch.cat([known, outside[..., None]], dim=-1), teacher.to(student.dtype)


@dataclass(frozen=True)
class SampledDistribution:
    """Tokens drawn from the teacher at each position, at temperature 1, with replacement.

    The mean over the draws of any function of a token is an unbiased estimate of its expectation
    under the teacher. `log_probs` are the teacher's own, not renormalised over the draws.
    """

    token_ids: Int[Tensor, "*tokens draws"]
    log_probs: Float[Tensor, "*tokens draws"]


@dataclass(frozen=True)
class AlikePositions:
    """Where student and teacher, with other tokens, are to go on from the same text.

    Args:
        mask: True at the student's positions that are such.
        output: of the teacher at those, row by row, over its own vocabulary.
        mapping: of its logits to log-probabilities of the student's tokens.
    """

    mask: Bool[Tensor, "batch time"]
    output: ModelOutput
    mapping: nn.Module

    @cached_property
    def log_probs(self) -> Float[Tensor, "batch time vocab"]:
        """What the teacher gives the student's tokens; 0 at all other positions."""
        mapped: Tensor = self.mapping(self.output.logits)
        return mapped.new_zeros(*self.mask.shape, mapped.shape[-1]).index_put((self.mask,), mapped)


def log_complement(log_probs: Float[Tensor, "*tokens k"]) -> Float[Tensor, "*tokens"]:
    """Log of the probability that is left beside these, at least that of the dtype's rounding.

    A softmax leaves something to every token, also where rounding says 0 or less: a tail of
    probability 0 would make a divergence of the student's own distribution as large as `LOWEST`.
    """
    left = 1.0 - log_probs.double().exp().sum(dim=-1)
    smallest = torch.finfo(log_probs.dtype).eps
    return left.clamp(min=smallest).log().to(log_probs.dtype)


@dataclass(frozen=True)
class TeacherSignal:
    """The teacher's distribution at every target position, if it gives one.

    Args:
        output: of a teacher that runs: hidden states and their projection.
        log_probs: a distribution over the vocabulary that no single model's output stands behind.
        sparse: k tokens of each position, from a cache.
        samples: tokens drawn at each position, from a cache.
        span_log_odds: log P - log(1 - P) of the spans of text that teacher and student share, P the
            teacher's probability, at the student's first token of each; NaN at all others; infinite
            where the tokens of one side do not spell the span, which is then not compared.
        alike: of a teacher with other tokens: where both go on from the same text.
        known: True at the positions whose distribution is the teacher's; None if it is so at all.
    """

    output: ModelOutput | None = None
    log_probs: Float[Tensor, "batch time vocab"] | None = None
    sparse: SparseDistribution | None = None
    samples: SampledDistribution | None = None
    span_log_odds: Float[Tensor, "batch time"] | None = None
    alike: AlikePositions | None = None
    known: Bool[Tensor, "batch time"] | None = None

    @property
    def logits(self) -> Float[Tensor, "batch time vocab"]:
        """The teacher's unnormalised scores over the whole vocabulary.

        Raises:
            UserError: if this teacher gives nothing but text, k tokens or spans.
        """
        if self.output is not None:
            return self.output.logits
        if self.log_probs is not None:
            return self.log_probs
        if self.alike is not None:
            return self.alike.log_probs
        if self.sparse is not None or self.samples is not None:
            raise UserError(
                "this loss needs the teacher's whole distribution, and a cached teacher stored "
                "k tokens of it: set teacher=live"
            )
        if self.span_log_odds is not None:
            raise UserError(
                "this loss compares distributions, and the cached teacher stored how probable "
                "spans of text are: set teacher=cached or teacher=live, or loss=[nll,span_kl]"
            )
        raise UserError(
            "this loss compares distributions, but the teacher gives none here: set "
            "teacher=live, or train on text alone with loss=[nll]"
        )

    @property
    def gives_distribution(self) -> bool:
        """Whether `logits` are there."""
        return any(said is not None for said in (self.output, self.log_probs, self.alike))

    @property
    def features(self) -> Features:
        """The teacher's inner states.

        Raises:
            UserError: if no single model runs.
        """
        if self.output is None:
            raise UserError(
                "this loss compares inner states, which only a teacher that runs can show: set "
                "teacher=live"
            )
        return self.output.features
