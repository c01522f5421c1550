"""Texts that models of transformers write: as long as their context, in the language asked for."""

from dataclasses import dataclass

import pytest
import torch
from hf_checkpoints import CAUSAL, VOCAB, make_checkpoint, opened

from nlg_distill.data.batch import Example, collate
from nlg_distill.decoding import LengthLimit, beam_search, sample
from nlg_distill.errors import UserError
from nlg_distill.losses import nll
from nlg_distill.targets.combined import CombinedWriter, mixed
from nlg_distill.teachers.ensemble import EnsembleModel
from nlg_distill.teachers.vocabulary import CutModel

CONTEXT = 9
BOUNDED = ["llama", "gpt2", "bart"]


@dataclass(frozen=True)
class ByHand(LengthLimit):
    """The usual limit, or what is left of the context."""

    causal: bool = False

    def __call__(self, source_mask):
        read = (source_mask.sum(1) - 2).clamp(min=0) * self.causal
        return torch.minimum(super().__call__(source_mask), CONTEXT - read)


@pytest.fixture(params=BOUNDED)
def family(request):
    return request.param


@pytest.fixture
def both(family, tmp_path):
    """The same weights with a context of 9, and with one that is long enough for any text."""
    sizes = {"narrow": CONTEXT, "wide": 40}
    place = "n_positions" if family == "gpt2" else "max_position_embeddings"
    for name, size in sizes.items():
        special = make_checkpoint(family, tmp_path / name, **{place: size})
    narrow, wide = (opened(family, tmp_path / name) for name in sizes)
    fewer = narrow.state_dict()
    given = {name: value[: len(fewer[name])] for name, value in wide.state_dict().items()}
    narrow.load_state_dict(given)
    return narrow, wide, special


def sources(special, longest=8):
    """Of 1 to `longest` tokens, some of each."""
    words = [i for i in range(VOCAB) if i not in (special.pad, special.begin, special.end)]
    rows = [
        [words[(3 * i + 5 * j) % len(words)] for j in range(1 + i % longest)] for i in range(24)
    ]
    return collate([Example(i, row, []) for i, row in enumerate(rows)], special)


@pytest.mark.parametrize("size", [1, 3])
@torch.no_grad()
def test_a_text_ends_where_the_context_does(both, family, size):
    narrow, wide, special = both
    batch = sources(special)
    inputs = (batch.source_ids, batch.source_mask, special)
    by_hand = ByHand(causal=family in CAUSAL)
    found = beam_search(narrow, *inputs, beam_size=size, num_hypotheses=size)
    cut = beam_search(wide, *inputs, beam_size=size, num_hypotheses=size, limit=by_hand)
    whole = beam_search(wide, *inputs, beam_size=size)
    longest, ended = by_hand(batch.source_mask).tolist(), set()
    assert len(found) == len(cut)
    for texts, expected, free, most in zip(found, cut, whole, longest, strict=True):
        assert [h.token_ids for h in texts] == [h.token_ids for h in expected]
        for text, other in zip(texts, expected, strict=True):
            assert text.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            assert text.ended == (len(text.token_ids) + 1 < most)
            ended.add(text.ended)
        if size == 1 and len(free[0].token_ids) + 1 < most:
            assert texts[0].token_ids == free[0].token_ids
    assert ended == {True, False}
    assert max(len(free[0].token_ids) for free in whole) > CONTEXT


@torch.no_grad()
def test_what_is_drawn_ends_where_the_context_does(both, family):
    narrow, wide, special = both
    batch = sources(special)
    longest = ByHand(causal=family in CAUSAL)(batch.source_mask).tolist()
    found = sample(
        narrow,
        batch.source_ids,
        batch.source_mask,
        special,
        generator=torch.Generator().manual_seed(1),
        num_hypotheses=20,
    )
    ended = set()
    for row, (texts, most) in enumerate(zip(found, longest, strict=True)):
        source = batch.source_ids[row, batch.source_mask[row]][:-1].tolist()
        written = [Example(i, source, text.token_ids) for i, text in enumerate(texts)]
        one = collate(written, special)
        own = -nll(wide(one).logits, one.labels).sum(dim=1)
        assert {text.ended for text in texts} <= {True, False}
        for text, expected in zip(texts, own.tolist(), strict=True):
            assert text.ended == (len(text.token_ids) + 1 < most)
            assert len(text.token_ids) + 1 <= most
            assert text.log_prob == pytest.approx(expected, abs=1e-3)
            ended.add(text.ended)
    assert ended == {True, False}


@torch.no_grad()
def test_writers_made_of_several_have_the_room_of_the_narrowest(both):
    narrow, wide, special = both
    mask = sources(special).source_mask
    parts = torch.tensor([0.5, 0.5])
    for writer in (
        EnsembleModel([wide, narrow], "probabilities", parts),
        CombinedWriter(narrow, wide, mixed),
        CombinedWriter(wide, narrow, mixed),
        CutModel(narrow, VOCAB - 1),
    ):
        assert torch.equal(writer.room(mask), narrow.room(mask))
    assert (wide.room(mask) > narrow.room(mask)).all()


@torch.no_grad()
def test_a_source_that_fills_the_context_alone_is_refused(both, family):
    narrow, _, special = both
    batch = sources(special, longest=11)
    with pytest.raises(UserError, match=r"sources of 1\d tokens are more than the 9 that this"):
        beam_search(narrow, batch.source_ids, batch.source_mask, special, beam_size=1)
