"""Decoder-only models of transformers: GPT-2, Llama and others. The source is their prompt."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nlg_distill.data.batch import Batch, Example
from nlg_distill.errors import UserError
from nlg_distill.models.hf import HFModel
from nlg_distill.models.hf_cache import CachedState, copied
from nlg_distill.models.output import Features, ModelOutput, OnRequest, named, states

BEGIN = -1
"""Stands for the token that a batch or a decoder begins with."""


class HFCausal(HFModel):
    """Any `AutoModelForCausalLM`.

    It reads the source without its end token, then `y1 .. yn`; what stands at the last token of the
    source predicts `y1`. `begin` is read where the source is empty alone.

    In `Features`, `decoder.0` is what the first layer leaves at the positions that predict the
    text, `decoder` the end, after the final norm; `encoder.0` and `encoder` are at those of the
    source, whose end, which is not read, repeats its last token. Attentions, where `attentions` is
    set, are named `cross`: rows over the source, then over the text. Values are not there.
    """

    AUTO = "AutoModelForCausalLM"
    ENCODER_DECODER = False

    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states `[batch, time, hidden]` for all target positions at once."""
        before, last = _prompt(batch.source_ids, batch.source_mask)
        source, time = batch.source_ids.shape[1], batch.labels.shape[1]
        width = max(source - 2, 0) + time
        if self.context is not None and width > self.context:
            # The longest source and the longest text may be of different examples.
            longest = int((before + batch.target_mask.sum(dim=1)).max())
            self._refuse_beyond(self.context, longest, "sources with texts")
        begin = batch.decoder_input_ids[:, 0]
        read = batch.decoder_input_ids.clone()
        read[:, 0] = torch.where(last == BEGIN, begin, last)
        positions = torch.arange(width, device=read.device)
        in_text = positions - before[:, None]  # [batch, width], below 0 in the source
        index = torch.where(in_text < 0, positions, source + in_text.clamp(max=time - 1))
        hidden, said = self._read(
            input_ids=torch.cat([batch.source_ids, read], dim=1).gather(1, index),
            attention_mask=(in_text < time).long(),
            use_cache=False,
            output_hidden_states=True,
            output_attentions=self.attentions,
            **self._positions(positions[None]),
        )
        text = before[:, None] + torch.arange(time, device=read.device)
        features = self._features(said, before, text, source)
        return self._output(_at(hidden, text), features=features)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Raises a UserError where source and text together are longer than the context."""
        read = ((max(len(e.source_ids), 1), len(e.target_ids)) for e in examples)
        longest = max(map(sum, read), default=0)  # an empty source leaves begin to be read
        self._refuse_beyond(self.context, longest, "sources with texts")

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """What the source leaves of the context, but for its last token, which the text follows."""
        if self.context is None:
            return super().room(source_mask)
        return self.context - (source_mask.sum(dim=1) - 2).clamp(min=0)

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> CachedState:
        """Reads the sources but their last token, which the first step does.

        Padding is moved to the left, so that what is written follows what is read.
        """
        before, last = _prompt(source_ids, source_mask)
        width = max(source_ids.shape[1] - 2, 0)
        self._refuse_beyond(self.context, width + 1, "sources")
        positions = torch.arange(width, device=source_ids.device) - (width - before[:, None])
        mask = positions >= 0
        cache = None
        if width:
            _, said = self._read(
                input_ids=source_ids.gather(1, positions.clamp(min=0)),
                attention_mask=mask.long(),
                use_cache=True,
                **self._positions(positions),
            )
            cache = said.cache
        return CachedState(cache, {"mask": mask.long(), "next": last})

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: CachedState
    ) -> tuple[ModelOutput, CachedState]:
        """Reads one token per hypothesis; gives hidden states `[sources, beam, hidden]`."""
        mask, last = state.rows["mask"], state.rows["next"]
        tokens = torch.where(last == BEGIN, token_ids.flatten(), last)
        seen, before = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), mask.sum(dim=1)
        if self.context is not None and seen.shape[1] > self.context:
            self._refuse_beyond(self.context, int(before.max()) + 1, "sources with texts")
        hidden, said = self._read(
            input_ids=tokens[:, None],
            attention_mask=seen,
            cache=copied(state.cache),
            use_cache=True,
            **self._positions(before[:, None]),
        )
        rows = {"mask": seen, "next": torch.full_like(last, BEGIN)}
        after = CachedState(said.cache, rows, state.beam)
        return self._output(hidden.view(*token_ids.shape, -1)), after

    def _positions(self, positions: Int[Tensor, "#batch time"]) -> dict[str, Tensor]:
        """The positions, for models that do not count them in the mask.

        Padding may stand beyond the context, where there are none.
        """
        takes = "position_ids" in inspect.signature(self.inner.forward).parameters
        last = None if self.context is None else self.context - 1
        return {"position_ids": positions.clamp(min=0, max=last)} if takes else {}

    def _features(
        self,
        said: Any,
        before: Int[Tensor, " batch"],
        text: Int[Tensor, "batch time"],
        source: int,
    ) -> Features:
        """Inner states, moved to where `Features` has them when somebody asks."""
        order = torch.arange(source, device=text.device)
        in_source = torch.minimum(order, before[:, None])
        sides = {"encoder": in_source, "decoder": text}
        hidden = {
            name: (layer, index)
            for part, index in sides.items()
            for name, layer in states(part, said.hidden_states).items()
        }
        moved = OnRequest(hidden, lambda held: _at(*held))
        if not self.attentions:
            return Features(hidden_states=moved)

        def rows(layer: Tensor) -> Tensor:
            asked = layer.gather(
                2, text[:, None, :, None].expand(-1, layer.shape[1], -1, layer.shape[3])
            )
            keys = torch.cat([in_source, text], dim=1)[:, None, None].expand(*asked.shape[:3], -1)
            unread = (order >= before[:, None])[:, None, None]
            found = asked.gather(3, keys)
            return torch.cat(
                [found[..., :source].masked_fill(unread, 0.0), found[..., source:]], -1
            )

        return Features(
            hidden_states=moved, attentions=OnRequest(named("cross", said.attentions), rows)
        )

    def _example(self) -> dict[str, Tensor]:
        return {"input_ids": torch.arange(2, device=self.inner.device)[None]}

    def _refuse_other_arithmetic(self) -> None:
        super()._refuse_other_arithmetic()
        ids = self._example()["input_ids"]
        (both, _), (first, _) = self._read(input_ids=ids), self._read(input_ids=ids[:, :1])
        if not torch.allclose(both[:, :1], first, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"{self.inner.config.model_type} looks ahead, so it cannot write: choose a model "
                f"that was trained to"
            )
        counted, _ = self._read(input_ids=ids, **self._positions(torch.arange(2)[None]))
        if not torch.allclose(both, counted, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"{self.inner.config.model_type} does not count its positions from 0, as they are "
                f"given to it here: choose another model"
            )


def _prompt(
    source_ids: Int[Tensor, "batch source"], source_mask: Bool[Tensor, "batch source"]
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """How many tokens stand before the last of each source, its end left out, and that last one.

    The last is `BEGIN` where there is none.
    """
    tokens = source_mask.sum(dim=1) - 1
    before = (tokens - 1).clamp(min=0)
    last = source_ids.gather(1, before[:, None])[:, 0]
    return before, last.masked_fill(tokens == 0, BEGIN)


def _at(layer: Tensor, positions: Int[Tensor, "batch positions"]) -> Tensor:
    """The states `[batch, positions, hidden]` at these positions."""
    return layer.gather(1, positions[:, :, None].expand(-1, -1, layer.shape[-1]))
