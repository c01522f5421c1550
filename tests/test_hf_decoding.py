"""Texts that models of transformers write: as long as their context, in the language asked for."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
import transformers
import yaml
from hf_checkpoints import CAUSAL, TEXTS, VOCAB, make_checkpoint, make_whole, opened, theirs

from nlg_distill.data.batch import Example, SpecialIds, collate
from nlg_distill.data.hf_tokenizer import Pretrained
from nlg_distill.decoding import LengthLimit, beam_search, sample
from nlg_distill.distributions import log_mixture
from nlg_distill.errors import UserError
from nlg_distill.losses import nll
from nlg_distill.models import HFCausal, HFSeq2Seq
from nlg_distill.stages.models import save_model
from nlg_distill.stages.tokenizer import SETTINGS
from nlg_distill.targets.combined import CombinedWriter
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
    mask, half = sources(special).source_mask, partial(log_mixture, share=0.5)
    parts = torch.tensor([0.5, 0.5])
    for writer in (
        EnsembleModel([wide, narrow], "probabilities", parts),
        CombinedWriter(narrow, wide, half),
        CombinedWriter(wide, narrow, half),
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


LED = dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim"), 8)
LED |= dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
LED |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
LED |= dict(max_encoder_position_embeddings=16, max_decoder_position_embeddings=8)
LED |= dict(model_type="led", attention_window=[4], pad_token_id=0, eos_token_id=2)
MPT = dict(model_type="mpt", d_model=8, n_heads=2, n_layers=1, max_seq_len=8)


@pytest.mark.parametrize(
    ("kind", "config", "fits", "too_long"),
    [
        (HFSeq2Seq, LED | dict(decoder_start_token_id=2), (15, 7), [(16, 7), (15, 8)]),
        (HFCausal, MPT, (5, 3), [(6, 3), (5, 4)]),
    ],
)
def test_bounds_are_found_under_any_of_their_names(kind, config, fits, too_long):
    special = SpecialIds(pad=0, begin=2, end=2)
    model = kind(VOCAB, config=config)

    def read(source, text):
        return model(collate([Example(0, [4] * source, [5] * text)], special))

    assert read(*fits).logits.isfinite().all()
    for lengths in too_long:
        with pytest.raises(UserError, match=r"tokens are more than the \d+ that this"):
            read(*lengths)


@torch.no_grad()
def test_a_beginning_counts_in_the_context(both, family):
    narrow, _, special = both
    batch = sources(special)
    inputs = (narrow, batch.source_ids[:8:8], batch.source_mask[:8:8], special)  # of one token
    beginning = torch.tensor([[3, 4, 5, 6, 7, 8, 9]])
    for writer in (beam_search, sample):
        how = {"beam_size": 1} if writer is beam_search else {"generator": torch.Generator()}
        [[text]] = writer(*inputs, beginning=beginning, **how)
        assert len(text.token_ids) + 1 <= CONTEXT - 7
        assert text.ended == (len(text.token_ids) + 1 < CONTEXT - 7)
        with pytest.raises(UserError, match="a beginning of 9 tokens leaves nothing to write"):
            writer(*inputs, beginning=torch.full((1, CONTEXT), 3), **how)


# Languages.

CODES = {"mbart50": ("en_XX", "de_DE"), "m2m100": ("en", "de")}


@pytest.fixture(scope="module", params=CODES)
def many_languages(request, tmp_path_factory):
    """A checkpoint of many languages, its tokenizer as transformers opens it, and as we do."""
    family, folder = request.param, tmp_path_factory.mktemp("languages") / request.param
    torch.manual_seed(0)
    make_whole(family, folder)
    source, target = CODES[family]
    own = transformers.AutoTokenizer.from_pretrained(folder, src_lang=source, tgt_lang=target)
    maker = Pretrained(path=str(folder), source_language=source, target_language=target)
    (folder / "kept").mkdir()
    maker.make([], folder / "kept")
    made = maker.load(folder / "kept")
    assert made.special == maker.special
    both = theirs(family, folder), opened(family, folder, vocab_size=made.vocab_size)
    with torch.no_grad():
        for network in (both[0], both[1].inner):  # texts that end
            network.get_output_embeddings().weight[made.special.end] *= 2
            for name, buffer in network.named_buffers():
                if name == "final_logits_bias":
                    buffer[:, made.special.end] += 3
    return *both, own, made


def pairs_of(made):
    """Texts with themselves in another order, as the model reads them."""
    sources, targets = made.encode_sources(TEXTS), made.encode_targets(TEXTS[::-1])
    rows = zip(sources, targets, strict=True)
    return [Example(i, source, target) for i, (source, target) in enumerate(rows)]


@torch.no_grad()
def test_the_loss_of_a_language_is_that_of_the_tokenizers_own_labels(many_languages):
    network, model, own, made = many_languages
    inputs = own(TEXTS, text_target=TEXTS[::-1], padding=True, return_tensors="pt")
    inputs["labels"][inputs["labels"] == own.pad_token_id] = -100
    batch = collate(pairs_of(made), made.special)
    assert torch.equal(batch.labels, inputs["labels"])
    found = nll(model(batch).logits, batch.labels).sum() / batch.num_target_tokens
    torch.testing.assert_close(found, network(**inputs).loss)


@pytest.mark.parametrize("size", [1, 3])
@torch.no_grad()
def test_what_is_written_begins_with_the_language(many_languages, size):
    network, model, own, made = many_languages
    language = own.convert_tokens_to_ids(own.convert_ids_to_tokens(made.special.first))
    code = own.tgt_lang
    assert own.convert_ids_to_tokens(language) in (code, f"__{code}__")
    batch = collate(pairs_of(made), made.special)
    inputs = (model, batch.source_ids, batch.source_mask, made.special)
    found = beam_search(*inputs, beam_size=size, limit=LengthLimit(ratio=0.0, extra=39))
    written = network.generate(
        batch.source_ids,
        attention_mask=batch.source_mask.long(),
        num_beams=size,
        early_stopping=size > 1,
        do_sample=False,
        max_new_tokens=39,
        forced_bos_token_id=language,
        suppress_tokens=[made.special.pad],
    )
    ended = 0
    for [text, *_], row in zip(found, written.tolist(), strict=True):
        assert text.token_ids[0] == language
        ids = [made.special.begin, *text.token_ids]
        if text.ended or size == 1:  # where nothing ends, transformers keeps another beam
            assert row[: len(ids)] == ids
        if text.ended:
            ended += 1
            assert row[len(ids)] == made.special.end
    assert ended or size == 1
    drawn = sample(*inputs, generator=torch.Generator().manual_seed(1), num_hypotheses=5)
    assert {text.token_ids[0] for texts in drawn for text in texts} == {language}
    assert len({tuple(text.token_ids) for texts in drawn for text in texts}) > 5


@torch.no_grad()
def test_a_stored_model_begins_with_the_language_in_transformers_too(many_languages, tmp_path):
    network, model, own, made = many_languages
    language = {"source_language": own.src_lang, "target_language": own.tgt_lang}
    maker = Pretrained(path=own.name_or_path, **language)
    for folder in ("tokenizer", "model"):
        (tmp_path / folder).mkdir()
    maker.make([], tmp_path / "tokenizer")
    chosen = {"_target_": "nlg_distill.data.hf_tokenizer.Pretrained", "path": own.name_or_path}
    (tmp_path / "tokenizer" / SETTINGS).write_text(yaml.safe_dump(chosen | language))
    save_model(model, tmp_path / "tokenizer", tmp_path / "model")
    stored = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    inputs = own(TEXTS, padding=True, return_tensors="pt")
    firsts = [
        set(written.generate(**inputs, max_new_tokens=5, do_sample=False)[:, 1].tolist())
        for written in (stored, network)
    ]
    assert firsts[0] == {made.special.first}
    assert firsts[1] != {made.special.first}


@torch.no_grad()
def test_a_forced_token_is_not_counted(many_languages):
    _, model, _, made = many_languages
    batch = collate(pairs_of(made), made.special)
    inputs = (model, batch.source_ids, batch.source_mask, made.special)
    for row, [text] in enumerate(beam_search(*inputs, beam_size=2)):
        source = batch.source_ids[row, batch.source_mask[row]][:-1].tolist()
        one = collate([Example(0, source, text.token_ids)], made.special)
        own = -nll(model(one).logits, one.labels)[0, 1:].sum()
        assert text.log_prob == pytest.approx(own.item(), abs=1e-3)
    alone = LengthLimit(ratio=0.0, extra=1)  # nothing but the end
    for writer in (beam_search, sample):
        how = {"beam_size": 1} if writer is beam_search else {"generator": torch.Generator()}
        assert all(not text.token_ids for [text] in writer(*inputs, limit=alone, **how))


@pytest.mark.parametrize("side", ["source_language", "target_language"])
def test_a_language_that_a_tokenizer_does_not_know_is_refused(many_languages, side):
    own = many_languages[2]
    codes = {"source_language": own.src_lang, "target_language": own.tgt_lang, side: "xx_YY"}
    with pytest.raises(UserError, match=rf"{side}=xx_YY.*: .*(no language|no tokens for both)"):
        _ = Pretrained(path=own.name_or_path, **codes).vocab_size


def test_a_tokenizer_of_many_languages_is_told_which(many_languages):
    path = many_languages[2].name_or_path
    with pytest.raises(UserError, match="has a token for every language: give"):
        _ = Pretrained(path=path).vocab_size
