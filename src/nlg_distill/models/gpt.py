"""Decoder-only Transformer: one stack reads the source, then the text that follows it.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2), section 2.3:
normalisation before each part and after the last layer, a GELU, one matrix of embeddings, and a
smaller start for what is added to states. Positions are its learned ones, or rotary, as in GPT-NeoX
and Llama: see `attention.rotated`. No linear map and no norm has a bias.

Deviations: the GELU is exact, and weights start with a spread of one over the root of what they sum
over, which suits any width, instead of 0.02.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu

from nlg_distill.data.batch import Batch, Example
from nlg_distill.errors import UserError, require_positive
from nlg_distill.models.attention import (
    Attended,
    Attention,
    KeyValueState,
    Trace,
    sinusoids,
)
from nlg_distill.models.generation_model import SHORTEN, GenerationModel
from nlg_distill.models.output import ModelOutput
from nlg_distill.models.widths import Axis, attention_axes


class Block(nn.Module):
    """Self-attention, then two linear maps with a GELU between; each is added to what it reads."""

    def __init__(
        self, hidden_size: int, num_heads: int, feed_forward_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size, bias=False)
        self.attention = Attention(hidden_size, num_heads, bias=False)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, bias=False)
        self.expand = nn.Linear(hidden_size, feed_forward_size, bias=False)
        self.contract = nn.Linear(feed_forward_size, hidden_size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def ask(
        self,
        states: Float[Tensor, "rows time hidden"],
        waves: Float[Tensor, "#rows time width"] | None,
    ) -> tuple[Float[Tensor, "rows heads time width"], Float[Tensor, "2 rows heads time width"]]:
        """Queries, and keys and values; `waves` are of positions where these are rotary."""
        return self.attention.ask_itself(self.attention_norm(states), waves)

    def forward(
        self,
        states: Float[Tensor, "rows time hidden"],
        queries: Float[Tensor, "rows heads time width"],
        seen: Float[Tensor, "2 rows heads keys width"],
        mask: Bool[Tensor, "rows time keys"] | None,
    ) -> tuple[Float[Tensor, "rows time hidden"], Attended]:
        """The states that the next layer reads, by what the queries find in what is seen."""
        found, attended = self.attention.find(queries, seen, mask)
        states = states + self.dropout(found)
        inner = gelu(self.expand(self.feed_forward_norm(states)))
        return states + self.dropout(self.contract(inner)), attended


class GPT(GenerationModel):
    """Layers that look at the source and at what is written, all in one attention.

    In `Features`, hidden states of the source are named `encoder.0`, those of the text `decoder.0`.
    `cross.0` is how text looks at source and text together, and the values that it finds in the
    source; `decoder.0` are those in the text. `encoder`, `decoder` and `cross` are of the last
    layer, hidden states as they leave the final norm.
    """

    LAYER = re.compile(r"(?<=decoder\.)\d+")

    def __init__(
        self,
        vocab_size: int,
        *,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        feed_forward_size: int,
        dropout: float,
        max_positions: int | None,
    ) -> None:
        """Builds the parameters; source, target and output embeddings are one matrix.

        Args:
            vocab_size: number of pieces, shared by source and target.
            hidden_size: width of embeddings and states.
            num_layers: layers, which source and text both go through.
            num_heads: heads of each attention; their width is even where positions are rotary.
            feed_forward_size: width between the two linear maps of a layer.
            dropout: probability in [0, 1), on embeddings and on all that is added to states.
            max_positions: None for rotary positions, of which there is no end; a number for so
                many learned ones, which source and text share, the end of each included.

        Raises:
            UserError: if a size is not positive, `hidden_size` is no multiple of `num_heads`, or of
                twice as many where positions are rotary, or `dropout` is outside [0, 1).
        """
        super().__init__()
        require_positive(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=num_heads,
            feed_forward_size=feed_forward_size,
            **({} if max_positions is None else {"max_positions": max_positions}),
        )
        rotary = max_positions is None
        if hidden_size % (num_heads * (2 if rotary else 1)):
            raise UserError(
                f"hidden_size must be a multiple of {'twice ' if rotary else ''}"
                f"num_heads={num_heads}, got {hidden_size}"
            )
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {dropout}")
        self.head_size = hidden_size // num_heads
        self.max_positions, self.bounded = max_positions, max_positions is not None
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        if max_positions is not None:
            self.positions = nn.Embedding(max_positions, hidden_size)
            nn.init.normal_(self.positions.weight, std=hidden_size**-0.5)
        self.decoder = nn.ModuleList(
            Block(hidden_size, num_heads, feed_forward_size, dropout) for _ in range(num_layers)
        )
        self.decoder_norm = nn.LayerNorm(hidden_size, bias=False)
        self.projection = nn.Linear(hidden_size, vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)

        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                added = name.endswith(("attention.output", "contract"))
                terms = module.in_features * (2 * num_layers if added else 1)
                nn.init.normal_(module.weight, std=terms**-0.5)
        self.embedding.weight = self.projection.weight

    @property
    def architecture(self) -> str:
        """Its class, and how it knows positions: queries learn to use the one or the other."""
        return f"{type(self).__name__}{' with learned positions' if self.bounded else ''}"

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """`hidden`, and for every layer its heads and feed-forward width."""
        return attention_axes(name, self.head_size)

    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states `[batch, time, hidden]` for all target positions at once."""
        trace = Trace()
        self._refuse_beyond(batch.source_mask, batch.target_mask, "sources with texts")
        state = self._read(batch.source_ids, batch.source_mask, trace)
        states, state = self._write(batch.decoder_input_ids[:, None], state, trace)
        features = replace(trace.features(), values=_values(state))
        return ModelOutput(states[:, 0], self.projection, features)

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> KeyValueState:
        """Reads the sources, the prefill; the state holds one hypothesis per source."""
        self._refuse_beyond(source_mask, source_mask.new_ones(1, 1), "sources with a begin")
        return self._read(source_ids, source_mask, Trace())

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: KeyValueState
    ) -> tuple[ModelOutput, KeyValueState]:
        """Reads one token per hypothesis; gives hidden states `[sources, beam, hidden]`."""
        written = state.mask.new_ones(1, state.length + 1)
        self._refuse_beyond(state.mask, written, "sources with texts")
        states, state = self._write(token_ids[:, :, None], state, Trace())
        return ModelOutput(states[:, :, 0], self.projection), state

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """What a source leaves of the learned positions."""
        if self.max_positions is None:
            return super().room(source_mask)
        return self.max_positions - source_mask.sum(dim=1)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Raises a UserError where source and text, with their ends, have too few positions."""
        needed = (len(e.source_ids) + len(e.target_ids) + 2 for e in examples)
        self._refuse_more_than(max(needed, default=0), "sources with texts")

    def _refuse_beyond(
        self,
        source_mask: Bool[Tensor, "sources source"],
        target_mask: Bool[Tensor, "#sources time"],
        what: str,
    ) -> None:
        """Looks at lengths only where padding might not fit, since a GPU would wait for them."""
        source, time = source_mask.shape[1], target_mask.shape[1]
        if self.max_positions is None or source + time <= self.max_positions:
            return
        numbers = torch.arange(1, time + 1, device=target_mask.device)
        text = (target_mask * numbers).amax(dim=1)  # a token before the last may be no label
        self._refuse_more_than(int((source_mask.sum(dim=1) + text).max()), what)

    def _refuse_more_than(self, length: int, what: str) -> None:
        if self.max_positions is not None and length > self.max_positions:
            raise UserError(
                f"{what} of {length} tokens are more than max_positions={self.max_positions}: set "
                f"it higher, or null for rotary positions, or {SHORTEN}"
            )

    def _embed(
        self,
        token_ids: Int[Tensor, "rows time"],
        positions: Int[Tensor, "#rows time"],
    ) -> tuple[Float[Tensor, "rows time hidden"], Float[Tensor, "#rows time width"] | None]:
        """Embeddings of tokens at their positions; waves, where these are rotary."""
        states = self.embedding(token_ids)
        if self.max_positions is None:
            return self.dropout(states), sinusoids(positions, self.head_size)
        within = positions.clamp(max=self.max_positions - 1)  # padding may stand beyond
        return self.dropout(states + self.positions(within)), None

    def _read(
        self,
        source_ids: Int[Tensor, "sources source"],
        mask: Bool[Tensor, "sources source"],
        trace: Trace,
    ) -> KeyValueState:
        """The state before any token. Padding stands behind all that could look at it."""
        positions = torch.arange(source_ids.shape[1], device=source_ids.device)
        states, waves = self._embed(source_ids, positions[None])
        read = []
        for number, block in enumerate(self.decoder):
            queries, new = block.ask(states, waves)  # type: ignore[operator]
            states, _ = block(states, queries, new, None)
            read.append(new)
            trace.hidden[f"encoder.{number}"] = states
        trace.hidden["encoder"] = self.decoder_norm(states)
        return KeyValueState.of(mask, tuple(read))

    def _write(
        self, token_ids: Int[Tensor, "sources beam time"], state: KeyValueState, trace: Trace
    ) -> tuple[Float[Tensor, "sources beam time hidden"], KeyValueState]:
        """Reads what follows the tokens of the state, as if no padding stood before it."""
        (sources, beam, time), before = token_ids.shape, state.length
        order = torch.arange(before + time, device=token_ids.device)
        positions = state.mask.sum(dim=1)[:, None] + order[before:]  # [sources, time]
        states, waves = self._embed(
            token_ids.flatten(0, 1), positions.repeat_interleave(beam, dim=0)
        )
        own = (order <= order[before:, None]).expand(sources, -1, -1)
        mask = torch.cat([state.mask[:, None].expand(-1, time, -1), own], dim=-1)
        mask = mask.repeat_interleave(beam, dim=0)  # [sources * beam, time, source + written]
        written = []
        for number, block in enumerate(self.decoder):
            queries, new = block.ask(states, waves)  # type: ignore[operator]
            new = new.unflatten(1, (sources, beam))
            written.append(torch.cat([state.written[number], new], dim=-2))
            read = state.read[number][:, :, None].expand(-1, -1, beam, -1, -1, -1)
            seen = torch.cat([read, written[number]], dim=-2).flatten(1, 2)
            states, attended = block(states, queries, seen, mask)
            trace.hidden[f"decoder.{number}"] = states
            trace.attended[f"cross.{number}"] = attended
        states = self.decoder_norm(states)
        trace.hidden["decoder"], trace.attended["cross"] = states, attended
        return states.unflatten(0, (sources, beam)), replace(state, written=tuple(written))


def _values(state: KeyValueState) -> dict[str, Tensor]:
    """The values found in source and text, by their names in `Features`."""
    values = {}
    for number, (read, written) in enumerate(zip(state.read, state.written, strict=True)):
        values[f"cross.{number}"], values[f"decoder.{number}"] = read[1], written[1][:, 0]
    return values | {"cross": read[1], "decoder": written[1][:, 0]}
