"""Beam search against exhaustive search; sampling against the distribution."""

import itertools
import math

import pytest
import torch
from conftest import FAMILIES, SPECIAL, toy_examples, toy_model, toy_structure

from nlg_distill.data.batch import Example, collate
from nlg_distill.decoding import LengthLimit, beam_search, greedy_search, sample
from nlg_distill.distributions import sharpened
from nlg_distill.errors import UserError

VOCAB = 5  # three special tokens and two words
LIMIT = LengthLimit(ratio=0.0, extra=4)


@pytest.fixture
def model():
    model = toy_model(vocab_size=VOCAB).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from uniform
    return model


@pytest.fixture
def batch():
    return collate(toy_examples(6, vocab_size=VOCAB), SPECIAL)


def log_prob(model, batch, row, token_ids):
    example = Example(0, batch.source_ids[row][batch.source_mask[row]].tolist()[:-1], token_ids)
    one = collate([example], SPECIAL)
    log_probs = model(one).logits.log_softmax(-1)[0]
    return log_probs.gather(1, one.labels[0][:, None]).sum().item()


def every_text():
    for length in range(4):
        yield from itertools.product([3, 4], repeat=length)


def wide_search(model, batch, **settings):
    """A beam that holds every text."""
    inputs = (model, batch.source_ids, batch.source_mask, SPECIAL)
    return beam_search(*inputs, beam_size=16, num_hypotheses=15, limit=LIMIT, **settings)


def assert_ranked(hypotheses, scores):
    ranked = sorted(scores, key=scores.get, reverse=True)
    assert [tuple(h.token_ids) for h in hypotheses] == ranked
    assert hypotheses[0].score == pytest.approx(scores[ranked[0]], abs=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@torch.no_grad()
def test_wide_beam_equals_exhaustive_search(model, batch, length_penalty):
    found = wide_search(model, batch, length_penalty=length_penalty)
    for row, hypotheses in enumerate(found):
        scores = {
            text: log_prob(model, batch, row, list(text)) / (len(text) + 1) ** length_penalty
            for text in every_text()
        }
        assert_ranked(hypotheses, scores)


def beam_by_definition(model, batch, row, size, longest):
    source = batch.source_ids[row][batch.source_mask[row]].tolist()[:-1]
    live, finished = [([], 0.0)], []
    while live and len(finished) < size:
        found = []
        for text, value in live:
            logits = model(collate([Example(0, source, text)], SPECIAL)).logits[0, -1]
            words = [SPECIAL.end] if len(text) + 1 == longest else [SPECIAL.end, 3, 4]
            following = logits.log_softmax(-1)
            found += [([*text, word], value + following[word].item()) for word in words]
        found.sort(key=lambda candidate: -candidate[1])
        finished += [(t, v) for t, v in found[:size] if t[-1] == SPECIAL.end]
        live = [(t, v) for t, v in found if t[-1] != SPECIAL.end][:size]
    finished.sort(key=lambda candidate: -candidate[1] / len(candidate[0]))
    return [text[:-1] for text, _ in finished[:size]]


@pytest.mark.parametrize("end_bias", [-2.0, 0.0])
@pytest.mark.parametrize("size", [1, 2, 3])
@torch.no_grad()
def test_narrow_beam_equals_its_definition(model, size, end_bias):
    model.projection.bias[SPECIAL.end] += end_bias
    batch = collate(toy_examples(30, vocab_size=VOCAB), SPECIAL)
    found = beam_search(
        model,
        batch.source_ids,
        batch.source_mask,
        SPECIAL,
        beam_size=size,
        num_hypotheses=size,
        limit=LIMIT,
    )
    for row, hypotheses in enumerate(found):
        expected = beam_by_definition(model, batch, row, size, 4)
        assert [h.token_ids for h in hypotheses] == expected


@torch.no_grad()
def test_log_prob_is_the_models_own(model, batch):
    found = beam_search(
        model, batch.source_ids, batch.source_mask, SPECIAL, beam_size=3, num_hypotheses=3
    )
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == 3
        for hypothesis in hypotheses:
            expected = log_prob(model, batch, row, hypothesis.token_ids)
            assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_greedy_takes_the_most_probable_token(model, batch):
    found = greedy_search(model, batch.source_ids, batch.source_mask, SPECIAL, limit=LIMIT)
    for row, [hypothesis] in enumerate(found):
        text = []
        state = model.start(batch.source_ids[row : row + 1], batch.source_mask[row : row + 1])
        token = SPECIAL.begin
        while len(text) < 3:
            output, state = model.step(torch.tensor([[token]]), state)
            logits = output.logits[0, 0].clone()
            logits[[SPECIAL.pad, SPECIAL.begin]] = -math.inf
            token = int(logits.argmax())
            if token == SPECIAL.end:
                break
            text.append(token)
        assert hypothesis.token_ids == text


@torch.no_grad()
def test_batch_size_changes_nothing(model, batch):
    together = beam_search(model, batch.source_ids, batch.source_mask, SPECIAL, beam_size=2)
    for row in range(len(batch.source_ids)):
        alone = beam_search(
            model,
            batch.source_ids[row : row + 1],
            batch.source_mask[row : row + 1],
            SPECIAL,
            beam_size=2,
        )
        assert alone[0][0].token_ids == together[row][0].token_ids


@torch.no_grad()
def test_no_text_is_longer_than_its_limit(model, batch):
    model.projection.bias[SPECIAL.end] = -50.0  # it would never stop by itself
    limit = LengthLimit(ratio=1.0, extra=1)
    found = greedy_search(model, batch.source_ids, batch.source_mask, SPECIAL, limit=limit)
    sizes = [len(hypotheses[0].token_ids) + 1 for hypotheses in found]
    assert sizes == (batch.source_mask.sum(1) + 1).tolist()
    assert not any(hypothesis.ended for [hypothesis] in found)
    assert not {SPECIAL.pad, SPECIAL.begin, SPECIAL.end} & set(found[0][0].token_ids)


def draw(model, batch, count, **settings):
    return sample(
        model,
        batch.source_ids[:1],
        batch.source_mask[:1],
        SPECIAL,
        generator=torch.Generator().manual_seed(1),
        num_hypotheses=count,
        limit=LIMIT,
        **settings,
    )[0]


@torch.no_grad()
def test_samples_follow_the_distribution(model, batch):
    model.projection.bias[[SPECIAL.pad, SPECIAL.begin]] = -50.0
    texts = [tuple(h.token_ids) for h in draw(model, batch, 4000)]
    shorter = [text for text in every_text() if len(text) < 3]  # the limit changes the longest
    for text in shorter:
        expected = math.exp(log_prob(model, batch, 0, list(text)))
        error = 4 * math.sqrt(expected * (1 - expected) / 4000) + 1e-3
        assert texts.count(text) / 4000 == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("settings", [{}, {"sampling_temperature": 2.0}, {"top_k": 2}])
@torch.no_grad()
def test_log_prob_of_a_sample_is_the_models_own(model, batch, settings):
    for hypothesis in draw(model, batch, 20, **settings):
        expected = log_prob(model, batch, 0, hypothesis.token_ids)
        assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)
        assert hypothesis.score == pytest.approx(
            expected / (len(hypothesis.token_ids) + 1), abs=1e-4
        )


@torch.no_grad()
def test_no_sample_is_longer_than_its_limit(model, batch):
    model.projection.bias[SPECIAL.end] = -50.0
    assert {len(h.token_ids) + 1 for h in draw(model, batch, 5)} == {4}
    assert not any(h.ended for h in draw(model, batch, 5))


@torch.no_grad()
def test_a_text_has_ended_unless_it_is_as_long_as_its_limit(model, batch):
    sources = batch.source_ids, batch.source_mask, SPECIAL
    limit = LengthLimit(ratio=1.0, extra=1)  # sources differ in length
    found = [
        sample(model, *sources, generator=torch.Generator(), num_hypotheses=30, limit=limit),
        beam_search(model, *sources, beam_size=8, num_hypotheses=8, limit=limit),
    ]
    for texts in found:
        seen = set()
        for hypotheses, longest in zip(texts, limit(batch.source_mask).tolist(), strict=True):
            for hypothesis in hypotheses:
                seen.add(hypothesis.ended)
                assert hypothesis.ended == (len(hypothesis.token_ids) + 1 < longest)
        assert seen == {True, False}


@torch.no_grad()
def test_top_k_draws_all_of_the_k_most_probable(model, batch):
    model.projection.weight.zero_()
    model.projection.bias.copy_(torch.tensor([9.0, 9.0, 0.0, 1.0, 1.1]))
    assert {word for h in draw(model, batch, 100, top_k=2) for word in h.token_ids} == {3, 4}
    assert {word for h in draw(model, batch, 100, top_k=1) for word in h.token_ids} == {4}


def test_of_tokens_that_are_as_probable_top_k_keeps_k():
    equal = torch.zeros(2, 5).index_fill(-1, torch.tensor([0]), -1.0)
    for k in (1, 3):
        kept = sharpened(equal, top_k=k)
        assert (kept.isfinite().sum(dim=-1) == k).all()
        assert not kept[:, 0].isfinite().any()


@torch.no_grad()
def test_top_k_one_and_low_temperature_are_greedy(model, batch):
    greedy = greedy_search(
        model, batch.source_ids[:1], batch.source_mask[:1], SPECIAL, limit=LIMIT
    )[0][0]
    for settings in ({"top_k": 1}, {"top_p": 1e-6}, {"sampling_temperature": 1e-3}):
        assert {tuple(h.token_ids) for h in draw(model, batch, 20, **settings)} == {
            tuple(greedy.token_ids)
        }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling_temperature": 0.0}, "sampling_temperature must be positive, got 0.0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 1.5}, "top_p must be in"),
    ],
)
def test_sampling_refuses_settings_out_of_range(model, batch, settings, message):
    with pytest.raises(UserError, match=message):
        draw(model, batch, 1, **settings)


def test_sampling_refuses_to_draw_nothing(model, batch):
    with pytest.raises(UserError, match="num_hypotheses must be at least 1, got 0"):
        draw(model, batch, 0)


def test_beam_refuses_more_hypotheses_than_its_size(model, batch):
    with pytest.raises(UserError, match="num_hypotheses must be in"):
        beam_search(
            model, batch.source_ids, batch.source_mask, SPECIAL, beam_size=2, num_hypotheses=3
        )


# Given beginnings.


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_going_on_from_its_own_beginning_gives_the_models_own_text(family):
    model = toy_structure(family).eval()
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))  # far from uniform
    less = torch.zeros(7).index_fill(0, torch.tensor([SPECIAL.end]), -3.0)
    model.projection.register_forward_hook(lambda projection, hidden, logits: logits + less)
    batch = collate(toy_examples(8), SPECIAL)
    inputs = (model, batch.source_ids, batch.source_mask, SPECIAL)
    whole = [texts[0] for texts in greedy_search(*inputs)]
    longest = (2 * batch.source_mask.sum(1) + 10).tolist()
    compared = 0
    for given in range(1, 6):
        rows = [row for row, text in enumerate(whole) if len(text.token_ids) >= given]
        if not rows:
            continue
        own = (model, batch.source_ids[rows], batch.source_mask[rows], SPECIAL)
        beginning = torch.tensor([whole[row].token_ids[:given] for row in rows])
        found = beam_search(*own, beam_size=1, beginning=beginning)
        drawn = sample(*own, generator=torch.Generator(), top_k=1, beginning=beginning)
        for row, [text], [other] in zip(rows, found, drawn, strict=True):
            rest = whole[row].token_ids[given:]
            assert other.token_ids == text.token_ids
            assert other.log_prob == pytest.approx(text.log_prob, abs=1e-4)
            assert text.token_ids[: len(rest)] == rest
            if whole[row].ended:
                assert text.token_ids == rest
            else:  # the limit is of what is written
                assert text.ended or len(text.token_ids) + 1 == longest[row]
            source = batch.source_ids[row][batch.source_mask[row]].tolist()[:-1]
            both = [*whole[row].token_ids[:given], *text.token_ids]
            one = collate([Example(0, source, both)], SPECIAL)
            log_probs = model(one).logits.log_softmax(-1)[0]
            expected = log_probs.gather(1, one.labels[0][:, None])[given:].sum().item()
            assert text.log_prob == pytest.approx(expected, abs=1e-3)
            compared += 1
    assert compared > 5


@torch.no_grad()
def test_a_beam_goes_on_as_exhaustive_search_does(model, batch):
    beginning = torch.tensor([[4]] * len(batch.source_ids))
    found = wide_search(model, batch, beginning=beginning)
    for row, hypotheses in enumerate(found):
        first = log_prob(model, batch, row, [4]) - log_prob_of_end(model, batch, row)
        scores = {
            text: (log_prob(model, batch, row, [4, *text]) - first) / (len(text) + 1)
            for text in every_text()
        }
        assert_ranked(hypotheses, scores)


def log_prob_of_end(model, batch, row):
    """Of the end after the word 4."""
    source = batch.source_ids[row][batch.source_mask[row]].tolist()[:-1]
    one = collate([Example(0, source, [4])], SPECIAL)
    return model(one).logits.log_softmax(-1)[0, 1, SPECIAL.end].item()


@torch.no_grad()
def test_an_empty_beginning_changes_nothing(model, batch):
    inputs = (model, batch.source_ids, batch.source_mask, SPECIAL)
    empty = torch.zeros(len(batch.source_ids), 0, dtype=torch.long)
    assert beam_search(*inputs, beam_size=2) == beam_search(*inputs, beam_size=2, beginning=empty)
