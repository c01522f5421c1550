"""Transformer encoder-decoder.

Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, section 3;
table 3 names the base model. Normalisation stands before each part and after the last layer, the
Pre-LN Transformer of Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020,
https://arxiv.org/abs/2002.04745, which trains without a long warm-up.
Positions are the paper's, or rotary.

Deviations: the projection to logits has a bias; of a position, all sines stand before all cosines.
"""

import math
import re
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError, require_positive
from nlg_distill.models.attention import Attended, Attention, KeyValueState, Trace, sinusoids
from nlg_distill.models.generation_model import GenerationModel
from nlg_distill.models.output import ModelOutput
from nlg_distill.models.widths import Axis, attention_axes


class EncoderLayer(nn.Module):
    """Self-attention, then two linear maps with a ReLU between; each is added to what it reads."""

    def __init__(
        self, hidden_size: int, num_heads: int, feed_forward_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(hidden_size)
        self.self_attention = Attention(hidden_size, num_heads)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.expand = nn.Linear(hidden_size, feed_forward_size)
        self.contract = nn.Linear(feed_forward_size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states: Float[Tensor, "batch source hidden"],
        mask: Bool[Tensor, "batch source"],
        waves: Float[Tensor, "1 source width"] | None,
    ) -> tuple[Float[Tensor, "batch source hidden"], Attended]:
        """The states that the next layer reads; `waves` are of positions where these are rotary."""
        queries, read = self.self_attention.ask_itself(self.self_norm(states), waves)
        found, own = self.self_attention.find(queries, read, mask[:, None])
        return self.feed_forward(states + self.dropout(found)), own

    def feed_forward(
        self, states: Float[Tensor, "*positions hidden"]
    ) -> Float[Tensor, "*positions hidden"]:
        """The second half, at each position by itself."""
        inner = self.expand(self.feed_forward_norm(states)).relu()
        changed: Tensor = states + self.dropout(self.contract(inner))
        return changed


class DecoderLayer(EncoderLayer):
    """The same without a look at later positions, and between the two a look at the source."""

    def __init__(
        self, hidden_size: int, num_heads: int, feed_forward_size: int, dropout: float
    ) -> None:
        super().__init__(hidden_size, num_heads, feed_forward_size, dropout)
        self.cross_norm = nn.LayerNorm(hidden_size)
        self.cross_attention = Attention(hidden_size, num_heads)

    def forward(  # type: ignore[override]
        self,
        states: Float[Tensor, "sources beam time hidden"],
        read: Float[Tensor, "2 sources heads source width"],
        mask: Bool[Tensor, "sources source"],
        written: Float[Tensor, "2 sources beam heads before width"],
        waves: Float[Tensor, "1 time width"] | None,
    ) -> tuple[
        Float[Tensor, "sources beam time hidden"],
        Float[Tensor, "2 sources beam heads after width"],
        Attended,
        Attended,
    ]:
        """The states that the next layer reads, what is now written, and both attentions."""
        (sources, beam, time, _), heads = states.shape, written.shape[3]
        normed = self.self_norm(states).flatten(0, 1)
        queries, new = self.self_attention.ask_itself(normed, waves)
        written = torch.cat([written, new.reshape(2, sources, beam, heads, time, -1)], dim=-2)
        found, own = self.self_attention.find(queries, written.flatten(1, 2), None)
        states = states + self.dropout(found.reshape(states.shape))
        normed = self.cross_norm(states).flatten(1, 2)  # a source's hypotheses look together
        found, cross = self.cross_attention(normed, read, mask[:, None])
        states = states + self.dropout(found.unflatten(1, (beam, time)))
        return self.feed_forward(states), written, own, cross


class TransformerEncoderDecoder(GenerationModel):
    """Layers that look at the source, and layers that look at the source and what is written.

    In `Features`, `encoder.0`, `decoder.0` and `cross.0` are of the first layers; `encoder`,
    `decoder` and `cross` are of the last, hidden states as they leave the final norm.
    """

    LAYER = re.compile(r"(?<=coder\.)\d+")

    def __init__(
        self,
        vocab_size: int,
        *,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        feed_forward_size: int,
        dropout: float,
        rotary: bool,
    ) -> None:
        """Builds the parameters; source, target and output embeddings are one matrix.

        Args:
            vocab_size: number of pieces, shared by source and target.
            hidden_size: width of embeddings and states.
            num_layers: layers of the encoder and of the decoder.
            num_heads: heads of each attention; divides `hidden_size`.
            feed_forward_size: width between the two linear maps of a layer.
            dropout: probability in [0, 1), on embeddings and on all that is added to states.
            rotary: whether queries and keys of self-attention are turned by their positions
                (`attention.rotated`), instead of sinusoids that are added to embeddings.

        Raises:
            UserError: if a size is not positive, `hidden_size` is no multiple of `num_heads`, what
                positions are told by is odd (`hidden_size`, of rotary ones the width of a head), or
                `dropout` is outside [0, 1).
        """
        super().__init__()
        require_positive(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=num_heads,
            feed_forward_size=feed_forward_size,
        )
        self.rotary = rotary
        if rotary and hidden_size % (2 * num_heads):
            raise UserError(
                f"hidden_size must be a multiple of twice num_heads={num_heads} for "
                f"rotary positions, got {hidden_size}"
            )
        if hidden_size % 2 or hidden_size % num_heads:
            raise UserError(
                f"hidden_size must be even and a multiple of num_heads={num_heads}, "
                f"got {hidden_size}"
            )
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {dropout}")
        self.head_size = hidden_size // num_heads
        sizes = (hidden_size, num_heads, feed_forward_size, dropout)
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_layers))
        self.encoder_norm = nn.LayerNorm(hidden_size)
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_layers))
        self.decoder_norm = nn.LayerNorm(hidden_size)
        self.projection = nn.Linear(hidden_size, vocab_size)
        self.dropout = nn.Dropout(dropout)

        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)
        self.projection.weight = self.embedding.weight

    @property
    def architecture(self) -> str:
        """Its class, and how it knows positions: queries learn to use the one or the other."""
        return f"{type(self).__name__}{' with rotary positions' if self.rotary else ''}"

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """`hidden`, and for every attention and layer its heads and feed-forward width."""
        return attention_axes(name, self.head_size)

    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states `[batch, time, hidden]` for all target positions at once."""
        trace = Trace()
        state = self._encode(batch.source_ids, batch.source_mask, trace)
        states, _ = self._decode(batch.decoder_input_ids[:, None], state, trace)
        return ModelOutput(states[:, 0], self.projection, trace.features())

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> KeyValueState:
        """Encodes the sources; the state holds one hypothesis per source."""
        return self._encode(source_ids, source_mask, Trace())

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: KeyValueState
    ) -> tuple[ModelOutput, KeyValueState]:
        """Reads one token per hypothesis; gives hidden states `[sources, beam, hidden]`."""
        states, state = self._decode(token_ids[:, :, None], state, Trace())
        return ModelOutput(states[:, :, 0], self.projection), state

    def _encode(
        self,
        source_ids: Int[Tensor, "sources source"],
        mask: Bool[Tensor, "sources source"],
        trace: Trace,
    ) -> KeyValueState:
        """The state before any token."""
        states, waves = self._embed(source_ids, first=0)
        for number, layer in enumerate(self.encoder):
            states, own = layer(states, mask, waves)
            trace.hidden[f"encoder.{number}"], trace.attended[f"encoder.{number}"] = states, own
        memory = self.encoder_norm(states)
        trace.hidden["encoder"], trace.attended["encoder"] = memory, own
        read = tuple(layer.cross_attention.read(memory) for layer in self.decoder)  # type: ignore[union-attr, operator]
        return KeyValueState.of(mask, read)

    def _decode(
        self, token_ids: Int[Tensor, "sources beam time"], state: KeyValueState, trace: Trace
    ) -> tuple[Float[Tensor, "sources beam time hidden"], KeyValueState]:
        """Reads what follows the tokens of the state."""
        states, waves = self._embed(token_ids, first=state.length)
        written = []
        for number, layer in enumerate(self.decoder):
            states, all_written, own, cross = layer(
                states, state.read[number], state.mask, state.written[number], waves
            )
            written.append(all_written)
            trace.hidden[f"decoder.{number}"] = states[:, 0]
            trace.attended.update({f"decoder.{number}": own, f"cross.{number}": cross})
        states = self.decoder_norm(states)
        trace.hidden["decoder"] = states[:, 0]
        trace.attended.update(decoder=own, cross=cross)
        return states, replace(state, written=tuple(written))

    def _embed(
        self, token_ids: Int[Tensor, "*rows time"], *, first: int
    ) -> tuple[Float[Tensor, "*rows time hidden"], Float[Tensor, "1 time width"] | None]:
        """Embeddings of tokens, the first at position `first`; waves, where these are rotary."""
        scaled: Tensor = self.embedding(token_ids) * math.sqrt(self.embedding.embedding_dim)
        positions = torch.arange(first, first + token_ids.shape[-1], device=token_ids.device)
        if self.rotary:
            return self.dropout(scaled), sinusoids(positions[None], self.head_size)
        return self.dropout(scaled + sinusoids(positions, scaled.shape[-1]).to(scaled)), None
