"""Encoder-decoders of transformers: T5, BART, Marian and others."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nlg_distill.data.batch import Batch, Example
from nlg_distill.models.hf import HFModel
from nlg_distill.models.hf_cache import CachedState, copied
from nlg_distill.models.output import Features, ModelOutput, named, states


class HFSeq2Seq(HFModel):
    """Any `AutoModelForSeq2SeqLM`.

    In `Features`, `encoder.0` is what the first layer leaves, `encoder` the end, after a final norm
    if there is one; `decoder` likewise. Attentions are there where `attentions` is set, values not.
    """

    AUTO = "AutoModelForSeq2SeqLM"
    ENCODER_DECODER = True

    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states `[batch, time, hidden]` for all target positions at once."""
        text = batch.decoder_input_ids
        self._refuse_beyond(self._source_context, batch.source_ids.shape[1], "sources")
        self._refuse_beyond(self.context, text.shape[1], "texts")
        hidden, said = self._read(
            input_ids=batch.source_ids,
            attention_mask=batch.source_mask.long(),
            decoder_input_ids=text,
            # Padding stands behind all that could look at it, and its id may be that of `begin`.
            decoder_attention_mask=torch.ones_like(text),
            use_cache=False,
            output_hidden_states=True,
            output_attentions=self.attentions,
        )
        return self._output(hidden, features=self._features(said))

    @property
    def _source_context(self) -> int | None:
        """The most positions of a source; of LED more than of a text."""
        own: int | None = getattr(self.inner.config, "max_encoder_position_embeddings", None)
        return self.context if own is None else own

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Raises a UserError where a source or a text is longer than the context."""
        sources = max((len(example.source_ids) + 1 for example in examples), default=0)
        texts = max((len(example.target_ids) + 1 for example in examples), default=0)
        self._refuse_beyond(self._source_context, sources, "sources")
        self._refuse_beyond(self.context, texts, "texts")

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """As many target tokens as the decoder has positions, whatever the source."""
        unbounded = super().room(source_mask)
        return unbounded if self.context is None else unbounded.clamp(max=self.context)

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> CachedState:
        """Encodes the sources; the state holds one hypothesis per source."""
        self._refuse_beyond(self._source_context, source_ids.shape[1], "sources")
        mask = source_mask.long()
        encoded = self.inner.get_encoder()(input_ids=source_ids, attention_mask=mask)
        return CachedState(None, {"memory": encoded.last_hidden_state, "mask": mask})

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: CachedState
    ) -> tuple[ModelOutput, CachedState]:
        """Reads one token per hypothesis; gives hidden states `[sources, beam, hidden]`."""
        from transformers.modeling_outputs import BaseModelOutput

        length = 0 if state.cache is None else state.cache.get_seq_length()
        self._refuse_beyond(self.context, length + 1, "texts")
        hidden, said = self._read(
            encoder_outputs=BaseModelOutput(last_hidden_state=state.rows["memory"]),
            attention_mask=state.rows["mask"],
            decoder_input_ids=token_ids.reshape(-1, 1),
            cache=copied(state.cache),
            use_cache=True,
        )
        after = CachedState(said.cache, state.rows, state.beam)
        return self._output(hidden.view(*token_ids.shape, -1)), after

    def _features(self, said: Any) -> Features:
        hidden = states("encoder", said.encoder_hidden_states)
        hidden |= states("decoder", said.decoder_hidden_states)
        if not self.attentions:
            return Features(hidden_states=hidden)
        rows = named("encoder", said.encoder_attentions) | named("cross", said.cross_attentions)
        return Features(
            hidden_states=hidden, attentions=rows | named("decoder", said.decoder_attentions)
        )

    def _example(self) -> dict[str, Tensor]:
        ids = torch.arange(2, device=self.inner.device)[None]
        return {"input_ids": ids, "decoder_input_ids": ids}
