"""What every model must do: step by step equals parallel, causality, padding, ties."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import SPECIAL, STRUCTURES, needs_bfloat16, toy_examples, toy_model, toy_structure

from nlg_distill.data.batch import Example, collate
from nlg_distill.decoding import LengthLimit, beam_search
from nlg_distill.errors import UserError


@pytest.fixture(params=STRUCTURES)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return toy_structure(name).eval()


@pytest.fixture
def batch():
    return collate(toy_examples(5), SPECIAL)


def test_step_by_step_equals_parallel(model, batch):
    parallel = model(batch).logits
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(batch.labels.shape[1]):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
        torch.testing.assert_close(output.logits[:, 0], parallel[:, time])


@pytest.mark.parametrize("seed", range(2))
def test_steps_of_many_hypotheses_equal_parallel_whatever_their_parents(model, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = collate(toy_examples(5, seed=seed), SPECIAL)
    sources = torch.arange(5)
    state = model.start(batch.source_ids, batch.source_mask)
    texts = torch.full((5, 1, 1), SPECIAL.begin)
    for beam in (3, 3, 2, 4, 4):
        output, state = model.step(texts[:, :, -1], state)
        for number in range(texts.shape[1]):
            read = texts[:, number]
            whole = model(replace(batch_of(batch, sources), decoder_input_ids=read, labels=read))
            torch.testing.assert_close(output.logits[:, number], whole.logits[:, -1])
        parents = torch.randint(texts.shape[1], (len(sources), beam), generator=generator)
        words = torch.randint(3, 7, (len(sources), beam, 1), generator=generator)
        texts = texts[torch.arange(len(sources))[:, None], parents]
        texts, state = torch.cat([texts, words], dim=2), state.reorder(parents)
        if beam == 2:
            kept = torch.tensor([4, 0, 2])
            sources, texts, state = sources[kept], texts[kept], state.keep(kept)


def batch_of(batch, sources):
    """Some rows of a batch."""
    return replace(batch, **{name: column[sources] for name, column in vars(batch).items()})


@dataclass
class Reread:
    """Source and text so far, which a step reads anew."""

    source_ids: torch.Tensor
    source_mask: torch.Tensor
    texts: torch.Tensor

    def reorder(self, parents):
        rows = torch.arange(len(parents))[:, None]
        return replace(self, texts=self.texts[rows, parents])

    def keep(self, sources):
        return Reread(self.source_ids[sources], self.source_mask[sources], self.texts[sources])


class WithoutMemory:
    """The same model, without anything kept from step to step."""

    def __init__(self, model):
        self.model = model

    def room(self, source_mask):
        return self.model.room(source_mask)

    def start(self, source_ids, source_mask):
        return Reread(source_ids, source_mask, source_ids[:, :1, None][:, :, :0])

    def step(self, token_ids, state):
        state = replace(state, texts=torch.cat([state.texts, token_ids[:, :, None]], dim=2))
        beam, read = token_ids.shape[1], state.texts.flatten(0, 1)
        example = collate([Example(0, [], [])], SPECIAL)
        output = self.model(
            replace(
                example,
                source_ids=state.source_ids.repeat_interleave(beam, 0),
                source_mask=state.source_mask.repeat_interleave(beam, 0),
                decoder_input_ids=read,
                labels=read,
                example_ids=read[:, 0],
                authors=read[:, 0],
            )
        )
        return replace(output, hidden=output.hidden[:, -1].unflatten(0, token_ids.shape)), state


@pytest.mark.parametrize("seed", range(2))
@torch.no_grad()
def test_beam_search_equals_one_that_computes_everything_anew(model, seed):
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # far from uniform
    less = torch.zeros(7).index_fill(0, torch.tensor([SPECIAL.end]), -2.0)
    model.projection.register_forward_hook(lambda projection, hidden, logits: logits + less)
    batch = collate(toy_examples(5, seed=seed), SPECIAL)
    wide = {"beam_size": 3, "num_hypotheses": 3, "limit": LengthLimit(ratio=0.5, extra=4)}
    found, expected = (
        beam_search(writer, batch.source_ids, batch.source_mask, SPECIAL, **wide)
        for writer in (model, WithoutMemory(model))
    )
    assert len({tuple(h.token_ids) for texts in found for h in texts}) >= 8
    for ours, theirs in zip(found, expected, strict=True):
        assert [h.token_ids for h in ours] == [h.token_ids for h in theirs]
        assert [h.log_prob for h in ours] == pytest.approx([h.log_prob for h in theirs], abs=1e-4)


def test_hypotheses_do_not_mix_and_reorder_moves_them(model, batch):
    start = model.start(batch.source_ids, batch.source_mask)
    twice = start.reorder(torch.zeros(5, 2, dtype=torch.long))
    tokens = torch.tensor([[3, 4]] * 5)
    both, state = model.step(tokens, twice)
    for beam in range(2):
        alone, alone_state = model.step(tokens[:, beam : beam + 1], start)
        torch.testing.assert_close(both.logits[:, beam], alone.logits[:, 0])
    swapped = state.reorder(torch.tensor([[1, 0]] * 5))
    after, _ = model.step(torch.tensor([[5, 5]] * 5), swapped)
    expected, _ = model.step(torch.tensor([[5]] * 5), alone_state)
    torch.testing.assert_close(after.logits[:, 0], expected.logits[:, 0])


def test_keep_drops_sources(model, batch):
    state = model.start(batch.source_ids, batch.source_mask)
    tokens = torch.full((5, 1), 3)
    full, _ = model.step(tokens, state)
    kept, _ = model.step(tokens[:2], state.keep(torch.tensor([3, 1])))
    torch.testing.assert_close(kept.logits, full.logits[[3, 1]])


def test_later_tokens_change_nothing_before_them(model, batch):
    changed = batch.decoder_input_ids.clone()
    changed[:, 3:] = 4
    other = replace(batch, decoder_input_ids=changed)
    torch.testing.assert_close(model(other).logits[:, :3], model(batch).logits[:, :3])
    assert not torch.allclose(model(other).logits[:, 3:], model(batch).logits[:, 3:])


def test_the_decoder_sees_the_source(model):
    one = collate([Example(0, [3, 4], [5])], SPECIAL)
    other = collate([Example(0, [6, 4], [5])], SPECIAL)
    assert not torch.allclose(model(one).logits, model(other).logits)


def test_padding_changes_nothing(model):
    examples = toy_examples(4)
    together = model(collate(examples, SPECIAL)).logits
    for row, example in enumerate(examples):
        alone = model(collate([example], SPECIAL)).logits[0]
        torch.testing.assert_close(together[row, : len(alone)], alone)


def test_padding_changes_nothing_in_steps(model):
    examples = toy_examples(4)
    batch = collate(examples, SPECIAL)
    tokens = torch.full((4, 1), SPECIAL.begin)
    together, _ = model.step(tokens, model.start(batch.source_ids, batch.source_mask))
    for row, example in enumerate(examples):
        one = collate([example], SPECIAL)
        alone, _ = model.step(tokens[:1], model.start(one.source_ids, one.source_mask))
        torch.testing.assert_close(together.logits[row], alone.logits[0])


@needs_bfloat16
def test_half_precision_runs_and_is_near(model, batch):
    exact = model(batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch).logits.float()
        state = model.start(batch.source_ids, batch.source_mask)
        first, state = model.step(batch.decoder_input_ids[:, :1], state)
        second, _ = model.step(batch.decoder_input_ids[:, 1:2], state)
        steps = torch.cat([first.logits, second.logits], dim=1).float()
    torch.testing.assert_close(logits, exact, atol=0.05, rtol=0.05)
    torch.testing.assert_close(steps, exact[:, :2], atol=0.05, rtol=0.05)
    logits.logsumexp(-1).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad.abs().max() > 0 for p in model.parameters()) > 5


def test_tied_embeddings_are_one_matrix():
    tied = toy_model(tie_embeddings=True)
    assert tied.projection.weight is tied.source_embedding.weight is tied.target_embedding.weight
    untied = toy_model(tie_embeddings=False)
    fewer = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert fewer == 2 * 7 * 6


def test_dropout_acts_in_training_only(name, batch):
    model = toy_structure(name, dropout=0.5)
    assert not torch.allclose(model(batch).logits, model(batch).logits)
    model.eval()
    torch.testing.assert_close(model(batch).logits, model(batch).logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(hidden_size=0), "hidden_size must be positive, got 0"),
        (dict(hidden_size=5), "hidden_size must be even when bidirectional, got 5"),
        (dict(dropout=1.0), r"dropout must be in \[0, 1\), got 1\.0"),
    ],
)
def test_refuses_impossible_sizes(changes, message):
    with pytest.raises(UserError, match=message):
        toy_model(**changes)
