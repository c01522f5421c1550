"""LSTM encoder-decoder with global attention.

Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation",
2015, https://arxiv.org/abs/1508.04025, sections 3 and 3.1 (global attention, the *general* score).
Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 4.1, name the sizes (4x1000, 2x500, 2x300, 2x100).

Deviation: no input feeding, so that all target positions of a training batch run in parallel.
"""

import re
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.models.generation_model import GenerationModel
from nlg_distill.models.output import Features, ModelOutput
from nlg_distill.models.widths import Axis


@dataclass(frozen=True)
class LSTMState:
    """What the decoder remembers: the encoded sources, and one recurrent state per hypothesis."""

    memory: Float[Tensor, "sources source hidden"]
    keys: Float[Tensor, "sources source hidden"]
    mask: Bool[Tensor, "sources source"]
    hidden: Float[Tensor, "layers sources beam hidden"]
    cell: Float[Tensor, "layers sources beam hidden"]

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "LSTMState":
        """Hypothesis `b` of source `s` continues from its hypothesis `parents[s, b]`."""
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        return replace(self, hidden=self.hidden[:, rows, parents], cell=self.cell[:, rows, parents])

    def keep(self, sources: Int[Tensor, " kept"]) -> "LSTMState":
        """The state of these sources alone, in this order."""
        return replace(
            self,
            memory=self.memory[sources],
            keys=self.keys[sources],
            mask=self.mask[sources],
            hidden=self.hidden[:, sources],
            cell=self.cell[:, sources],
        )


class SequenceDropout(nn.Module):
    """Dropout with one mask for all positions of a sequence.

    Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks", 2016, https://arxiv.org/abs/1512.05287, section 4. Also cheaper than a mask per
    position: drawing random numbers on a CPU is slow.
    """

    def __init__(self, probability: float) -> None:
        """`probability` of dropping a feature, in [0, 1)."""
        super().__init__()
        self.probability = probability

    def forward(
        self, states: Float[Tensor, "batch time features"]
    ) -> Float[Tensor, "batch time features"]:
        """The states with some features zeroed and the others scaled up, in training only."""
        if not self.training or self.probability == 0:
            return states
        kept = 1.0 - self.probability
        mask = torch.empty_like(states[:, :1]).bernoulli_(kept)
        return states * (mask / kept)


class LSTMEncoderDecoder(GenerationModel):
    """An encoder LSTM, a decoder LSTM that starts from its last state, and attention."""

    LAYER = re.compile(r"(?<=_l)\d+(?=$|_reverse$)")

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        bidirectional: bool,
        tie_embeddings: bool,
        embedding_std: float,
    ) -> None:
        """Builds the parameters.

        Args:
            vocab_size: number of pieces, shared by source and target.
            embedding_size: width of the embeddings and of the states given to the projection.
            hidden_size: width of the recurrent states.
            num_layers: layers of the encoder and of the decoder.
            dropout: probability in [0, 1) on embeddings, between layers and before the projection.
            bidirectional: the encoder reads both ways, with half of `hidden_size` each way.
            tie_embeddings: source, target and output embeddings are one matrix.
            embedding_std: standard deviation of the first embeddings. A small model learns to
                attend much sooner from 0.3 than from the usual `embedding_size ** -0.5`.

        Raises:
            UserError: if a size is not positive, `hidden_size` is odd in a bidirectional model,
                or `dropout` is outside [0, 1).
        """
        super().__init__()
        for name, size in [
            ("vocab_size", vocab_size),
            ("embedding_size", embedding_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
            ("embedding_std", embedding_std),
        ]:
            if size <= 0:
                raise UserError(f"{name} must be positive, got {size}")
        if bidirectional and hidden_size % 2:
            raise UserError(f"hidden_size must be even when bidirectional, got {hidden_size}")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {dropout}")

        self.source_embedding = nn.Embedding(vocab_size, embedding_size)
        self.target_embedding = nn.Embedding(vocab_size, embedding_size)
        between_layers = dropout if num_layers > 1 else 0.0
        self.encoder = nn.LSTM(
            embedding_size,
            hidden_size // 2 if bidirectional else hidden_size,
            num_layers,
            batch_first=True,
            dropout=between_layers,
            bidirectional=bidirectional,
        )
        self.decoder = nn.LSTM(
            embedding_size, hidden_size, num_layers, batch_first=True, dropout=between_layers
        )
        self.attention_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.attention_output = nn.Linear(2 * hidden_size, embedding_size, bias=False)
        self.projection = nn.Linear(embedding_size, vocab_size)
        self.dropout = SequenceDropout(dropout)

        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=embedding_std)
        if tie_embeddings:
            self.target_embedding.weight = self.source_embedding.weight
            self.projection.weight = self.source_embedding.weight

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """`embedding`, and the hidden units, alike in all layers: the decoder begins with them."""
        part, kind = name.split(".")
        embedding = Axis(("embedding",))
        ways = ("forward", "reverse") if self.encoder.bidirectional else ("forward",)
        hidden, own = Axis(ways), ways
        if part == "encoder":
            own = ways[-1:] if kind.endswith("_reverse") else ways[:1]
        gates = Axis(own, blocks=4)
        if part.endswith("embedding") or part == "projection":
            return (None, embedding) if kind == "weight" else (None,)
        if kind.startswith("bias"):
            return (gates,)
        if kind.startswith("weight_hh"):
            return gates, Axis(own)
        if kind.startswith("weight_ih"):
            return gates, embedding if "_l0" in kind else hidden
        return (hidden, hidden) if part == "attention_key" else (embedding, Axis(ways, blocks=2))

    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states `[batch, time, embedding]` for all target positions at once."""
        state = self.start(batch.source_ids, batch.source_mask)
        embedded = self.dropout(self.target_embedding(batch.decoder_input_ids))
        recurrent, _ = self.decoder(embedded, (state.hidden[:, :, 0], state.cell[:, :, 0]))
        attended, attention = self._attend(recurrent, state)
        features = Features(
            hidden_states={"encoder": state.memory, "decoder": recurrent},
            attentions={"cross": attention[:, None]},
            values={"cross": state.memory[:, None]},
        )
        return ModelOutput(attended, self.projection, features)

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> LSTMState:
        """Encodes the sources; the state holds one hypothesis per source."""
        embedded = self.dropout(self.source_embedding(source_ids))
        lengths = source_mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        packed_memory, (hidden, cell) = self.encoder(packed)
        memory, _ = pad_packed_sequence(
            packed_memory, batch_first=True, total_length=source_ids.shape[1]
        )
        return LSTMState(
            memory=memory,
            keys=self.attention_key(memory),
            mask=source_mask,
            hidden=self._join_directions(hidden)[:, :, None],
            cell=self._join_directions(cell)[:, :, None],
        )

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: LSTMState
    ) -> tuple[ModelOutput, LSTMState]:
        """Reads one token per hypothesis; gives hidden states `[sources, beam, embedding]`."""
        sources, beam = token_ids.shape
        embedded = self.dropout(self.target_embedding(token_ids)).reshape(sources * beam, 1, -1)
        recurrent, (hidden, cell) = self.decoder(
            embedded, (state.hidden.flatten(1, 2), state.cell.flatten(1, 2))
        )
        state = replace(
            state,
            hidden=hidden.unflatten(1, (sources, beam)),
            cell=cell.unflatten(1, (sources, beam)),
        )
        attended, _ = self._attend(recurrent.reshape(sources, beam, -1), state)
        return ModelOutput(attended, self.projection), state

    def _attend(
        self, recurrent: Float[Tensor, "sources queries hidden"], state: LSTMState
    ) -> tuple[Float[Tensor, "sources queries embedding"], Float[Tensor, "sources queries source"]]:
        """The states given to the projection, and how much of each source position is in them."""
        scores = recurrent @ state.keys.transpose(1, 2)  # [sources, queries, source]
        scores = scores.masked_fill(~state.mask[:, None], float("-inf"))
        attention = scores.softmax(dim=-1)
        context = attention @ state.memory
        joined = self.attention_output(torch.cat([context, recurrent], dim=-1)).tanh()
        return self.dropout(joined), attention

    def _join_directions(
        self, state: Float[Tensor, "layers_directions sources width"]
    ) -> Float[Tensor, "layers sources hidden"]:
        if not self.encoder.bidirectional:
            return state
        layers = state.reshape(self.encoder.num_layers, 2, *state.shape[1:])
        return layers.transpose(1, 2).flatten(2)
