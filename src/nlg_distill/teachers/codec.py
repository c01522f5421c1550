"""How a teacher's k tokens at one position become bytes.

Both codecs store the token ids, their log-probabilities, and one float32 more, the `head`, which is
what the mode of the cache makes of it.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nlg_distill.errors import UserError

LARGEST_VOCABULARY = 2**20
LEVELS_WIDE, LEVELS_NARROW = 4095, 255
LARGEST_RANGE = 40.0  # nats; exp(-40) is 4e-18
RANGE_UNIT = LARGEST_RANGE / 65_535


class Codec(ABC):
    """`k` tokens, their log-probabilities and a head as bytes, and back.

    Args:
        k: tokens of a position.
        vocab_size: their ids are below it.
    """

    relative = False
    """Whether log-probabilities come back with their maximum at 0, to be put in place by the head.
    """

    def __init__(self, k: int, vocab_size: int) -> None:
        """Keeps both."""
        self.k, self.vocab_size = k, vocab_size

    @property
    @abstractmethod
    def bytes_per_token(self) -> int:
        """All that one position takes."""

    @abstractmethod
    def encode(
        self,
        token_ids: Int[Tensor, "tokens k"],
        log_probs: Float[Tensor, "tokens k"],
        head: Float[Tensor, " tokens"],
    ) -> UInt8[Tensor, "tokens bytes"]:
        """The bytes of each position."""

    @abstractmethod
    def decode(
        self, records: UInt8[Tensor, "*tokens bytes"]
    ) -> tuple[Int[Tensor, "*tokens k"], Float[Tensor, "*tokens k"], Float[Tensor, "*tokens"]]:
        """Token ids, log-probabilities and heads."""


class ExactCodec(Codec):
    """Nothing is lost: 8 k + 4 bytes."""

    @property
    def bytes_per_token(self) -> int:
        """260 at k = 32."""
        return 8 * self.k + 4

    def encode(
        self,
        token_ids: Int[Tensor, "tokens k"],
        log_probs: Float[Tensor, "tokens k"],
        head: Float[Tensor, " tokens"],
    ) -> UInt8[Tensor, "tokens bytes"]:
        """32 bits for each number."""
        ids = token_ids.to(torch.int32).contiguous().view(torch.uint8)
        return torch.cat([ids, _float_bytes(log_probs), _float_bytes(head[..., None])], dim=-1)

    def decode(
        self, records: UInt8[Tensor, "*tokens bytes"]
    ) -> tuple[Int[Tensor, "*tokens k"], Float[Tensor, "*tokens k"], Float[Tensor, "*tokens"]]:
        """The same numbers, bit for bit."""
        ids, values, head = torch.split(records, [4 * self.k, 4 * self.k, 4], dim=-1)
        return ids.contiguous().view(torch.int32).long(), _floats(values), _floats(head)[..., 0]


class QuantisedCodec(Codec):
    r"""3.5 k + 6 bytes: 118 at k = 32.

    A token id takes 16 bits, and 4 more where the vocabulary is larger than 65,536. A
    log-probability is stored as its distance to the largest one, in equal steps over the range of
    the position (at most 40 nats; what is less probable is raised to it): 12 bits, or 8 where the
    ids need the other four. The largest one is not stored but follows from the head, so the mass of
    the k tokens, and with it that of all others, is exact.

    Measured at k = 32 with a teacher trained on HSK, in nats (docs/experiments.md): the mean error
    of a log-probability is 0.0003 (largest 0.0013), which adds 1.6e-8 of KL to a position; with
    8 bits 0.0047 (0.021) and 4.0e-6.
    """

    relative = True

    def __init__(self, k: int, vocab_size: int) -> None:
        """Chooses the number of steps.

        Raises:
            UserError: if an id takes more than 20 bits.
        """
        super().__init__(k, vocab_size)
        if vocab_size > LARGEST_VOCABULARY:
            raise UserError(
                f"a quantised cache holds ids below {LARGEST_VOCABULARY:,}, and the vocabulary has "
                f"{vocab_size:,} pieces: set teacher.quantised=false"
            )
        self.wide_ids = vocab_size > 2**16
        self.levels = LEVELS_NARROW if self.wide_ids else LEVELS_WIDE

    @property
    def bytes_per_token(self) -> int:
        """Low and high bytes of the ids, steps, one nibble a token, range and head."""
        return 3 * self.k + (self.k + 1) // 2 + 2 + 4

    def encode(
        self,
        token_ids: Int[Tensor, "tokens k"],
        log_probs: Float[Tensor, "tokens k"],
        head: Float[Tensor, " tokens"],
    ) -> UInt8[Tensor, "tokens bytes"]:
        """Rounds each log-probability to the nearest step."""
        distance = log_probs.amax(dim=-1, keepdim=True) - log_probs
        distance = distance.clamp(max=LARGEST_RANGE)
        widest = (distance.amax(dim=-1, keepdim=True) / RANGE_UNIT).ceil().clamp(max=65_535).long()
        step = (widest * RANGE_UNIT / self.levels).clamp(min=torch.finfo(torch.float32).tiny)
        steps = (distance / step).round().clamp(max=self.levels).long()
        nibbles = token_ids >> 16 if self.wide_ids else steps & 15
        parts = [token_ids & 255, token_ids >> 8 & 255, steps if self.wide_ids else steps >> 4]
        parts += [_pack_nibbles(nibbles), widest & 255, widest >> 8]
        return torch.cat(
            [torch.cat(parts, dim=-1).to(torch.uint8), _float_bytes(head[..., None])], dim=-1
        )

    def decode(
        self, records: UInt8[Tensor, "*tokens bytes"]
    ) -> tuple[Int[Tensor, "*tokens k"], Float[Tensor, "*tokens k"], Float[Tensor, "*tokens"]]:
        """The log-probabilities have their maximum at 0."""
        sizes = [self.k, self.k, self.k, (self.k + 1) // 2, 1, 1, 4]
        low, high, steps, packed, *width, head = torch.split(records, sizes, dim=-1)
        nibbles = _unpack_nibbles(packed.long())[..., : self.k]
        ids = low.long() | high.long() << 8
        whole = steps.long()
        if self.wide_ids:
            ids = ids | nibbles << 16
        else:
            whole = whole << 4 | nibbles
        step = (width[0].long() | width[1].long() << 8) * RANGE_UNIT / self.levels
        return ids, whole * -step, _floats(head)[..., 0]


def _pack_nibbles(values: Int[Tensor, "tokens k"]) -> Int[Tensor, "tokens half"]:
    if values.shape[-1] % 2:
        values = torch.nn.functional.pad(values, (0, 1))
    return values[..., ::2] | values[..., 1::2] << 4


def _unpack_nibbles(packed: Int[Tensor, "*tokens half"]) -> Int[Tensor, "*tokens k"]:
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)


def _float_bytes(values: Float[Tensor, "tokens n"]) -> UInt8[Tensor, "tokens bytes"]:
    return values.to(torch.float32).contiguous().view(torch.uint8)


def _floats(raw: UInt8[Tensor, "*tokens bytes"]) -> Float[Tensor, "*tokens n"]:
    return raw.contiguous().view(torch.float32)
