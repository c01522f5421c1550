"""The LSTM: step by step equals parallel, causality, padding, ties."""

import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model

from nlg_distill.data.batch import Batch, Example, collate
from nlg_distill.errors import UserError

VARIANTS = [
    dict(bidirectional=True, tie_embeddings=False, num_layers=2),
    dict(bidirectional=False, tie_embeddings=True, num_layers=1),
]


@pytest.fixture(params=VARIANTS, ids=["bidirectional", "tied"])
def model(request):
    return toy_model(**request.param).eval()


@pytest.fixture
def batch():
    return collate(toy_examples(5), SPECIAL)


def test_step_by_step_equals_parallel(model, batch):
    parallel = model(batch).logits
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(batch.labels.shape[1]):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
        torch.testing.assert_close(output.logits[:, 0], parallel[:, time])


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
    other = Batch(
        batch.source_ids, batch.source_mask, changed, batch.labels, batch.example_ids, batch.authors
    )
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


def test_tied_embeddings_are_one_matrix():
    tied = toy_model(tie_embeddings=True)
    assert tied.projection.weight is tied.source_embedding.weight is tied.target_embedding.weight
    untied = toy_model(tie_embeddings=False)
    fewer = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert fewer == 2 * 7 * 6


def test_dropout_acts_in_training_only(batch):
    model = toy_model(dropout=0.5)
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
