"""What a cache keeps of a teacher's distribution at each position."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from nlg_distill.distributions import log_probs
from nlg_distill.teachers.codec import Codec, ExactCodec, QuantisedCodec
from nlg_distill.teachers.signal import (
    Gives,
    SampledDistribution,
    SparseDistribution,
    TeacherSignal,
)

ModeName = Literal["top_k", "samples"]


class Mode(ABC):
    """Distributions to bytes, and bytes to the signal of a batch."""

    gives: frozenset[Gives]

    def __init__(self, k: int, vocab_size: int, *, quantised: bool) -> None:
        """`k` tokens of each position."""
        self.codec: Codec = (QuantisedCodec if quantised else ExactCodec)(k, vocab_size)

    @abstractmethod
    def encode(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """What is stored of each position."""

    @abstractmethod
    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The signal of a batch."""


class TopKMode(Mode):
    """The k most probable tokens; the head is the log of the mass of all others."""

    gives = frozenset({Gives.DISTRIBUTION})

    def __init__(self, k: int, vocab_size: int, *, quantised: bool) -> None:
        """All tokens where `k` is more than the vocabulary."""
        super().__init__(min(k, vocab_size), vocab_size, quantised=quantised)

    def encode(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """Nothing is drawn."""
        kept = SparseDistribution.of(logits, self.codec.k)
        return self.codec.encode(kept.token_ids, kept.log_probs, kept.tail_log_mass)

    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The stored mass is exact; within it, the k tokens have the codec's error."""
        ids, values, tail = self.codec.decode(records)
        if self.codec.relative:
            stored = torch.log1p(-tail.double().exp()) - values.double().logsumexp(dim=-1)
            values = values + stored[..., None].float()
        return TeacherSignal(sparse=SparseDistribution(ids, values, tail))


class SamplesMode(Mode):
    """k independent draws from the teacher; the head is the largest log-probability among them."""

    gives = frozenset({Gives.SAMPLES})

    def encode(
        self, logits: Float[Tensor, "tokens vocab"], generator: Generator
    ) -> UInt8[Tensor, "tokens bytes"]:
        """Drawn with replacement, so that a mean over the draws is unbiased."""
        known = log_probs(logits)
        ids = torch.multinomial(known.exp(), self.codec.k, replacement=True, generator=generator)
        values = known.gather(-1, ids)
        return self.codec.encode(ids, values, values.amax(dim=-1))

    def decode(self, records: UInt8[Tensor, "batch time bytes"]) -> TeacherSignal:
        """The draws and their log-probabilities."""
        ids, values, largest = self.codec.decode(records)
        if self.codec.relative:
            values = values + largest[..., None]
        return TeacherSignal(samples=SampledDistribution(ids, values))


MODES: dict[str, type[Mode]] = {"top_k": TopKMode, "samples": SamplesMode}
