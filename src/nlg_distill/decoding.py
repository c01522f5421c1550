"""Greedy search, beam search and sampling, batched, for any model with a step interface."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from nlg_distill.data.batch import SpecialIds
from nlg_distill.distributions import sharpened
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
    """A text the model wrote, without special tokens and without what it was given to begin with.

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


USUAL_LIMIT = LengthLimit()


def beam_search(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    *,
    beam_size: int,
    num_hypotheses: int = 1,
    length_penalty: float = 1.0,
    limit: LengthLimit = USUAL_LIMIT,
    beginning: Int[Tensor, "sources given"] | None = None,
) -> list[list[Hypothesis]]:
    r"""The best texts found for each source, best first.

    A hypothesis ends when its end token is among the `beam_size` best candidates of a step; a
    source ends when `beam_size` hypotheses have. Scores are $\log p(y|x) / |y|^\alpha$ with
    $\alpha$ the `length_penalty` and $|y|$ counting the end token.

    The texts go on from the `beginning` of each, which has no special tokens; limit, scores and
    log-probabilities are of what is written after it.
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
    begun = _begin(model, source_ids, source_mask, special, beginning)
    limits, state, tokens = torch.minimum(limit(source_mask), begun.room), begun.state, begun.tokens
    log_probs = torch.zeros(len(sources), 1, device=device)
    history = tokens[:, :, None][:, :, :0]  # [sources, beam, written]

    while len(sources):
        output, state = model.step(tokens, state)
        length = history.shape[2] + 1
        must_end = limits == length
        following = _next_log_probs(output, special, must_end, first=begun.nothing and length == 1)
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


@dataclass(frozen=True)
class _Begun:
    """Where a text goes on: the token to read next, and how many the model has room for after it.

    `nothing` is True where no text was given to begin with.
    """

    state: Any
    tokens: Int[Tensor, "sources 1"]
    room: Int[Tensor, " sources"]
    nothing: bool


def _begin(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    beginning: Int[Tensor, "sources given"] | None,
) -> _Begun:
    """Reads the sources, and of what texts begin with all but the last token."""
    columns: list[Tensor] = [] if beginning is None else list(beginning.T)
    given = len(columns)
    whole = model.room(source_mask)
    state = model.start(source_ids, source_mask)
    tokens = torch.full((len(source_ids), 1), special.begin, device=source_ids.device)
    if given and (whole <= given).any():
        raise UserError(
            f"a beginning of {given} tokens leaves nothing to write: this model has positions for "
            f"{int(whole.min())} target tokens, the end included: give a shorter one"
        )
    for column in columns:
        _, state = model.step(tokens, state)
        tokens = column[:, None]
    return _Begun(state, tokens, whole - given, nothing=given == 0)


def _next_log_probs(
    output: ModelOutput, special: SpecialIds, must_end: Bool[Tensor, " sources"], *, first: bool
) -> Float[Tensor, "sources beam vocab"]:
    """Of the token written now; one that every text must begin with has probability 1."""
    log_probs = output.logits.float().log_softmax(dim=-1)
    log_probs[:, :, special.never_written] = float("-inf")
    if must_end.any():
        end = log_probs[must_end, :, special.end]
        log_probs[must_end] = float("-inf")
        log_probs[must_end, :, special.end] = end
    if first and special.first is not None:
        log_probs[~must_end] = float("-inf")
        log_probs[~must_end, :, special.first] = 0.0
    return log_probs


def greedy_search(
    model: StepModel,
    source_ids: Int[Tensor, "sources source"],
    source_mask: Bool[Tensor, "sources source"],
    special: SpecialIds,
    *,
    limit: LengthLimit = USUAL_LIMIT,
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
    limit: LengthLimit = USUAL_LIMIT,
    beginning: Int[Tensor, "sources given"] | None = None,
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
        beginning: what each text goes on from, without special tokens; limit and log-probabilities
            are of what is written after it.

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
    begun = _begin(model, source_ids, source_mask, special, beginning)
    room, limits = begun.room, torch.minimum(limit(source_mask), begun.room)
    state = begun.state.reorder(torch.zeros(shape, dtype=torch.long, device=device))
    tokens = begun.tokens.expand(shape)
    log_probs = torch.zeros(shape, device=device)
    written: list[list[list[int]]] = [[[] for _ in range(num_hypotheses)] for _ in source_ids]
    going = torch.ones(shape, dtype=torch.bool, device=device)
    sources = torch.arange(len(source_ids), device=device)  # those that the model still reads

    length = 0
    while going.any():
        length += 1
        output, state = model.step(tokens, state)
        must_end = limits[sources] == length
        following = _next_log_probs(output, special, must_end, first=begun.nothing and length == 1)
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
