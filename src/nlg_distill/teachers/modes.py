"""What a cache keeps of a teacher's distribution at each position."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.distributions import LOWEST, log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.span_kl import span_log_odds
from nlg_distill.teachers.codec import Codec, ExactCodec, QuantisedCodec
from nlg_distill.teachers.signal import (
    Gives,
    SampledDistribution,
    SparseDistribution,
    TeacherSignal,
)

ModeName = Literal["top_k", "samples", "spans"]


class Mode(ABC):
    """What a teacher says to bytes, and bytes to the signal of a batch."""

    gives: frozenset[Gives]
    keeps_tokens = True
    """Whether `k` and `quantised` change anything."""
    bytes_per_token: int
    """All that one position takes."""

    @abstractmethod
    def __init__(self, k: Any, vocab_size: int, *, quantised: Any) -> None:
        """With `k` and `quantised` of a cache, which are None where they change nothing."""

    def read(self, signal: TeacherSignal, batch: Batch) -> Float[Tensor, "tokens values"]:
        """What `encode` needs at each target position, row by row: the logits.

        Raises:
            UserError: if the teacher gives no numbers.
        """
        logits = signal.logits[batch.target_mask]
        refuse_nan(logits, batch)
        return logits

    @abstractmethod
    def encode(
        self, values: Float[Tensor, "tokens values"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """What is stored of each position."""

    @abstractmethod
    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The signal of a batch."""


def refuse_nan(values: Tensor, batch: Batch) -> None:
    """Raises a UserError where what a teacher says about a batch holds NaN."""
    if values.isnan().any():
        raise UserError(
            f"the teacher gives no numbers (NaN) for an example among "
            f"{batch.example_ids.tolist()}: its training has failed, or trainer.precision is too "
            f"low"
        )


class TokensMode(Mode):
    """k tokens of each position, as a codec stores them."""

    def __init__(self, k: int, vocab_size: int, *, quantised: bool) -> None:
        """Chooses the codec."""
        self.codec: Codec = (QuantisedCodec if quantised else ExactCodec)(k, vocab_size)
        self.bytes_per_token = self.codec.bytes_per_token

    def read(self, signal: TeacherSignal, batch: Batch) -> Float[Tensor, "tokens values"]:
        """The logits; NaN where the teacher's distribution is not known.

        Raises:
            UserError: if the teacher gives no numbers.
        """
        logits = super().read(signal, batch)
        if signal.known is None:
            return logits
        return logits.masked_fill(~signal.known[batch.target_mask][:, None], torch.nan)

    def encode(
        self, values: Float[Tensor, "tokens values"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """The head is NaN where the distribution is not known."""
        unknown = values[:, 0].isnan()
        ids, kept, head = self.keep(values.masked_fill(unknown[:, None], 0.0), generator)
        return self.codec.encode(ids, kept, head.masked_fill(unknown, torch.nan))

    @abstractmethod
    def keep(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> tuple[Int[Tensor, "tokens k"], Float[Tensor, "tokens k"], Float[Tensor, " tokens"]]:
        """The tokens that are stored of each position, their log-probabilities, and the head."""


class TopKMode(TokensMode):
    """The k most probable tokens; the head is the log of the mass of all others."""

    gives = frozenset({Gives.DISTRIBUTION})

    def __init__(self, k: int, vocab_size: int, *, quantised: bool) -> None:
        """All tokens where `k` is more than the vocabulary."""
        super().__init__(min(k, vocab_size), vocab_size, quantised=quantised)

    def keep(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> tuple[Int[Tensor, "tokens k"], Float[Tensor, "tokens k"], Float[Tensor, " tokens"]]:
        """Nothing is drawn."""
        kept = SparseDistribution.of(logits, self.codec.k)
        return kept.token_ids, kept.log_probs, kept.tail_log_mass

    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The stored mass is exact; within it, the k tokens have the codec's error."""
        ids, values, tail = self.codec.decode(records)
        known = ~tail.isnan()
        tail = tail.masked_fill(~known, LOWEST)
        if self.codec.relative:
            stored = torch.log1p(-tail.double().exp()) - values.double().logsumexp(dim=-1)
            values = values + stored[..., None].float()
        return TeacherSignal(sparse=SparseDistribution(ids, values, tail), known=known)


class SamplesMode(TokensMode):
    """k independent draws from the teacher; the head is the largest log-probability among them."""

    gives = frozenset({Gives.SAMPLES})

    def keep(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> tuple[Int[Tensor, "tokens k"], Float[Tensor, "tokens k"], Float[Tensor, " tokens"]]:
        """Drawn with replacement, so that a mean over the draws is unbiased."""
        known = log_probs(logits)
        ids = torch.multinomial(known.exp(), self.codec.k, replacement=True, generator=generator)
        drawn = known.gather(-1, ids)
        return ids, drawn, drawn.amax(dim=-1)

    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The draws and their log-probabilities."""
        ids, values, largest = self.codec.decode(records)
        known = ~largest.isnan()
        largest = largest.masked_fill(~known, 0.0)
        if self.codec.relative:
            values = values + largest[..., None]
        return TeacherSignal(samples=SampledDistribution(ids, values), known=known)


class SpansMode(Mode):
    """The log-odds of each span of the text at its first token, in float32; NaN elsewhere.

    It is infinite where a span is not compared. Of a teacher with the student's tokens, every
    token is a span.
    """

    gives = frozenset({Gives.SPANS})
    keeps_tokens = False
    bytes_per_token = 4

    def __init__(self, k: None, vocab_size: int, *, quantised: None) -> None:
        """There is nothing to choose."""

    def read(self, signal: TeacherSignal, batch: Batch) -> Float[Tensor, "tokens values"]:
        """The log-odds.

        Raises:
            UserError: if the teacher gives no numbers.
        """
        odds = signal.span_log_odds
        if odds is None:
            odds = span_log_odds(signal.logits, batch.labels, batch.target_mask)
            refuse_nan(odds[batch.target_mask], batch)
        return odds[batch.target_mask][:, None]

    def encode(
        self, values: Float[Tensor, "tokens values"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """Nothing is drawn, and nothing is lost."""
        return values.to(torch.float32).contiguous().view(torch.uint8)

    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The same numbers, bit for bit."""
        return TeacherSignal(span_log_odds=records.contiguous().view(torch.float32)[..., 0])


MODES: dict[str, type[Mode]] = {"top_k": TopKMode, "samples": SamplesMode, "spans": SpansMode}
