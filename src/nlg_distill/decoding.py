"""Greedy search, beam search and sampling, batched, for any model with a step interface."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from nlg_distill.data.batch import SpecialIds
from nlg_distill.errors import UserError
from nlg_distill.models.output import ModelOutput


@runtime_checkable
class DecoderState(Protocol):
    """What a model carries from one step to the next."""

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "DecoderState":
        """Hypothesis `b` of source `s` continues from hypothesis `parents[s, b]`."""
        ...

    def keep(self, sources: Int[Tensor, " kept"]) -> "DecoderState":
        """The state of these sources alone."""
        ...


@runtime_checkable
class StepModel(Protocol):
    """A model that writes one token at a time."""

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """How many target tokens, the end included, it has positions for, by source."""
        ...

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> Any:
        """Encodes the sources; the state holds one hypothesis per source."""
        ...

    def step(self, token_ids: Int[Tensor, "sources beam"], state: Any) -> tuple[ModelOutput, Any]:
        """Reads one token per hypothesis and gives the hidden states that predict the next."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A text the model wrote, without special tokens.

    `log_prob` is the sum over its tokens in nats, the end token included, and not what stands first
    by force, which is among `token_ids`. `ended` is False where the length limit, or the end of the
    model's context, left no other token than the end: the model did not choose to stop there.
    """

    token_ids: list[int]
    log_prob: float
    score: float
    ended: bool


@dataclass(frozen=True)
class LengthLimit:
    """At most `ratio * source tokens + extra` target tokens, the end token included.

    A model whose context ends before stops there.
    """

    ratio: float = 2.0
    extra: int = 10

    def __call__(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """The limit for each source."""
        return (self.ratio * source_mask.sum(dim=1)).long() + self.extra


def beam_search(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    *,
    beam_size: int,
    num_hypotheses: int = 1,
    length_penalty: float = 1.0,
    limit: LengthLimit = LengthLimit(),
) -> list[list[Hypothesis]]:
    r"""The best texts found for each source, best first.

    A hypothesis ends when its end token is among the `beam_size` best candidates of a step; a
    source ends when `beam_size` hypotheses have. Scores are $\log p(y|x) / |y|^\alpha$ with
    $\alpha$ the `length_penalty` and $|y|$ counting the end token.
    """
    if beam_size < 1:
        raise UserError(f"beam_size must be at least 1, got {beam_size}")
    if not 1 <= num_hypotheses <= beam_size:
        raise UserError(
            f"num_hypotheses must be in [1, beam_size={beam_size}], got {num_hypotheses}"
        )
    device = source_ids.device
    finished: list[list[Hypothesis]] = [[] for _ in source_ids]
    sources = torch.arange(len(source_ids), device=device)
    limits = torch.minimum(limit(source_mask), model.room(source_mask))
    state = model.start(source_ids, source_mask)
    tokens = torch.full((len(sources), 1), special.begin, device=device)
    log_probs = torch.zeros(len(sources), 1, device=device)
    history = tokens[:, :, None][:, :, :0]  # [sources, beam, written]

    while len(sources):
        output, state = model.step(tokens, state)
        length = history.shape[2] + 1
        following = _next_log_probs(output, special, length, limits)
        vocab = following.shape[-1]
        candidates = (log_probs[:, :, None] + following).flatten(1)
        best, flat = candidates.topk(min(2 * beam_size, candidates.shape[1]))
        parents, tokens = flat // vocab, flat % vocab
        ends = tokens == special.end

        ending = (ends & best.isfinite())[:, :beam_size]
        chosen = (limits > length).tolist()
        for row, rank in ending.nonzero().tolist():
            log_prob = best[row, rank].item()
            written = history[row, parents[row, rank]].tolist()
            score = log_prob / length**length_penalty
            finished[sources[row]].append(Hypothesis(written, log_prob, score, chosen[row]))

        log_probs, live = best.masked_fill(ends, float("-inf")).topk(min(beam_size, best.shape[1]))
        parents, tokens = parents.gather(1, live), tokens.gather(1, live)
        rows = torch.arange(len(sources), device=device)[:, None]
        history = torch.cat([history[rows, parents], tokens[:, :, None]], dim=2)
        state = state.reorder(parents)

        num_finished = torch.tensor([len(finished[s]) for s in sources.tolist()], device=device)
        going = ((num_finished < beam_size) & log_probs[:, 0].isfinite()).nonzero().flatten()
        if len(going) < len(sources):
            sources, limits, state = sources[going], limits[going], state.keep(going)
            tokens, log_probs, history = tokens[going], log_probs[going], history[going]

    return [sorted(f, key=lambda h: -h.score)[:num_hypotheses] for f in finished]


def _next_log_probs(
    output: ModelOutput, special: SpecialIds, length: int, limits: Int[Tensor, " sources"]
) -> Float[Tensor, "sources beam vocab"]:
    """Of the token at `length`, the first being at 1; a forced first one has probability 1."""
    log_probs = output.logits.float().log_softmax(dim=-1)
    log_probs[:, :, special.never_written] = float("-inf")
    if length == 1 and special.first is not None:
        free = limits > 1
        log_probs[free] = float("-inf")
        log_probs[free, :, special.first] = 0.0
    must_end = limits == length
    if must_end.any():
        end = log_probs[must_end, :, special.end]
        log_probs[must_end] = float("-inf")
        log_probs[must_end, :, special.end] = end
    return log_probs


def greedy_search(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    *,
    limit: LengthLimit = LengthLimit(),
) -> list[list[Hypothesis]]:
    """The most probable token at every step, until the end token."""
    return beam_search(model, source_ids, source_mask, special, beam_size=1, limit=limit)


def sample(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    *,
    generator: Generator,
    num_hypotheses: int = 1,
    sampling_temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    limit: LengthLimit = LengthLimit(),
) -> list[list[Hypothesis]]:
    """Texts drawn token by token from the model's distribution.

    Args:
        model: what writes.
        source_ids: padded sources.
        source_mask: True on text.
        special: ids of the tokens that are not text.
        generator: where the randomness comes from, on the model's device.
        num_hypotheses: texts per source, drawn independently.
        sampling_temperature: see `sharpened`.
        top_k: see `sharpened`.
        top_p: see `sharpened`.
        limit: longest text for a source.

    Returns:
        The texts in the order drawn; `log_prob` is the model's own, at temperature 1 and not
        truncated.

    Raises:
        UserError: if a number is out of its range.
    """
    if num_hypotheses < 1:
        raise UserError(f"num_hypotheses must be at least 1, got {num_hypotheses}")
    device = source_ids.device
    shape = (len(source_ids), num_hypotheses)
    room = model.room(source_mask)
    limits = torch.minimum(limit(source_mask), room)
    state = model.start(source_ids, source_mask)
    state = state.reorder(torch.zeros(shape, dtype=torch.long, device=device))
    tokens = torch.full(shape, special.begin, device=device)
    log_probs = torch.zeros(shape, device=device)
    written: list[list[list[int]]] = [[[] for _ in range(num_hypotheses)] for _ in source_ids]
    going = torch.ones(shape, dtype=torch.bool, device=device)
    sources = torch.arange(len(source_ids), device=device)  # those that the model still reads

    length = 0
    while going.any():
        length += 1
        output, state = model.step(tokens, state)
        following = _next_log_probs(output, special, length, limits[sources])
        drawn = sharpened(
            following, sampling_temperature=sampling_temperature, top_k=top_k, top_p=top_p
        )
        choice = drawn.softmax(dim=-1).flatten(0, 1)
        tokens = torch.multinomial(choice, 1, generator=generator).view(tokens.shape)
        own = following.gather(2, tokens[:, :, None])[:, :, 0]
        log_probs[sources] += own.masked_fill(~going, 0.0)
        going &= tokens != special.end
        for row, draw in going.nonzero().tolist():
            written[sources[row]][draw].append(int(tokens[row, draw]))
        # Only those leave that the model cannot read on: what is drawn depends on how many stay.
        left = (room[sources] > length).nonzero().flatten()
        if len(left) < len(sources):
            sources, state = sources[left], state.keep(left)
            tokens, going = tokens[left], going[left]

    return [
        [
            Hypothesis(ids, log_prob, log_prob / (len(ids) + 1), ended=len(ids) + 1 < longest)
            for ids, log_prob in zip(texts, values, strict=True)
        ]
        for texts, values, longest in zip(written, log_probs.tolist(), limits.tolist(), strict=True)
    ]


def sharpened(
    logits: Float[Tensor, "*tokens vocab"],
    *,
    sampling_temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*tokens vocab"]:
    """Logits of the distribution that a token is drawn from; `-inf` where it is not drawn.

    Args:
        logits: the model's own.
        sampling_temperature: divides the logits; above 0.
        top_k: draw from the `top_k` most probable tokens alone.
        top_p: draw from the fewest most probable tokens whose mass reaches `top_p`, in (0, 1].
            Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
            https://arxiv.org/abs/1904.09751, section 3.1.

    Raises:
        UserError: if a number is out of its range.
    """
    if sampling_temperature <= 0:
        raise UserError(f"sampling_temperature must be positive, got {sampling_temperature}")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top_p must be in (0, 1], got {top_p}")
    logits = logits / sampling_temperature
    if top_k is not None and top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if top_p is not None:
        ordered, order = logits.sort(dim=-1, descending=True)
        probs = ordered.softmax(dim=-1)
        dropped = probs.cumsum(dim=-1) - probs >= top_p  # the mass before this token is enough
        logits = logits.masked_fill(dropped.scatter(-1, order, dropped), float("-inf"))
    return logits
