"""Where two tokenizers cut a text alike: spans that cover both sides with the same text."""

import itertools
import random
import unicodedata

import pytest
import transformers
from hf_checkpoints import TEXTS, make_whole

from nlg_distill.data.hf_tokenizer import Pretrained
from nlg_distill.data.spans import align, cuts
from nlg_distill.data.tokenizer import SentencePiece
from nlg_distill.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
HARD = [
    "",
    "a",
    "A  double   space ",
    " leading",
    "the café is \ufb01ne",
    "cafe\u0301 combining, n\u0303",
    "\u2026 \u2460 \u338f \u00bd price",
    "emoji \U0001f600\U0001f44d\U0001f3fd\u200d\U0001f4bb end",
    "\u4e2d\u6587 text \u65e5\u672c",
    "tab\there\nand a line",
    "zero\u200bwidth \ufeff mark",
]
WORDS = [
    *["the", "bath", "is", "bad", "a", "cab", "abc", "café", "ﬁne", "😀", "½", "", "中文"],
    *["price", "letters", "another", "reading", "writing", "student", "teacher", "words", "spaces"],
]


def some_texts(count=150):
    drawn = random.Random(3)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(1, 8))) for _ in range(count)]


CORPUS = [*TEXTS, *HARD[1:], *some_texts()]
HF = ["t5", "bart", "gpt2", "llama", "mbart50"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """By name: two of SentencePiece of different sizes, and those of some checkpoints."""
    root = tmp_path_factory.mktemp("tokenizers")
    made = {}
    for name, size, kind in ("small", 80, "unigram"), ("large", 100, "bpe"):
        maker = SentencePiece(vocab_size=size, model_type=kind, character_coverage=1.0)
        (root / name).mkdir()
        maker.make(CORPUS, root / name)
        made[name] = maker.load(root / name)
    for family in HF:
        make_whole(family, root / family)
        codes = {"source_language": "en_XX", "target_language": "de_DE"}
        maker = Pretrained(path=str(root / family), **(codes if family == "mbart50" else {}))
        (root / family / "kept").mkdir()
        maker.make([], root / family / "kept")
        made[family] = maker.load(root / family / "kept")
    return made


@pytest.mark.parametrize("name", ["small", "large", *HF])
def test_every_token_of_a_target_has_a_place_in_it(tokenizers, name):
    tokenizer = tokenizers[name]
    for text, ids, places in zip(
        CORPUS, tokenizer.encode_targets(CORPUS), tokenizer.target_places(CORPUS), strict=True
    ):
        assert len(places) == len(ids)
        assert all(0 <= begin <= end <= len(text) for begin, end in places)
    assert tokenizer.target_places([]) == []


@pytest.mark.parametrize("name", ["small", "large", *HF])
def test_a_token_spells_what_stands_at_its_place(tokenizers, name):
    """Of text that no tokenizer changes, the place of a piece is where its letters are."""
    tokenizer = tokenizers[name]
    for text in (
        "the cab is abc",
        "a bath, a cab",
        "the </s> is a </s> bath",
    ):  # which is read as < /s>
        (ids,), (places,) = tokenizer.encode_targets([text]), tokenizer.target_places([text])
        for number, (begin, end) in zip(ids, places, strict=True):
            piece = tokenizer.pieces[number].replace("▁", "").replace("Ġ", "")
            if piece.isalpha():
                assert text[begin:end].strip() == piece


def spelled(text, places, firsts):
    """The text of each span, by where its tokens reach."""
    reached, ends = 0, []
    for number, (_, end) in enumerate(places):
        if number in firsts[1:]:
            ends.append(reached)
        reached = max(reached, end)
    ends += [reached] * (len(firsts) - len(ends))
    return [text[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("theirs", ["large", *HF])
@pytest.mark.parametrize("ours", ["small", "gpt2"])
def test_spans_cover_both_sides_with_the_same_text(tokenizers, ours, theirs):
    texts = [*CORPUS, ""]
    pairs = zip(
        texts,
        tokenizers[ours].target_places(texts),
        tokenizers[theirs].target_places(texts),
        strict=True,
    )
    spans = 0
    for text, here, there in pairs:
        found = align(here, there)
        assert found.lengths == (len(here) + 1, len(there) + 1)
        for firsts, length in (found.ours, found.lengths[0]), (found.theirs, found.lengths[1]):
            assert firsts[0] == 0
            assert firsts[-1] == (length - 1 if here and there else 0)  # the end token's own
            assert sorted({*firsts}) == [*firsts]
        assert len(found.ours) == len(found.theirs) == len(found.alike)
        assert spelled(text, here, found.ours) == spelled(text, there, found.theirs)
        spans += len(found.ours)
    assert spans > 2 * len(texts)


def bare(text):
    """What is left when characters are normalised, and spaces and marks of no width go."""
    return "".join(
        character
        for character in unicodedata.normalize("NFKC", text)
        if not character.isspace() and unicodedata.category(character) != "Cf"
    )


@pytest.mark.parametrize("ours", ["small", "large"])
def test_the_tokens_of_a_span_decode_to_the_same_text_on_both_sides(tokenizers, ours):
    """Also where a character is several pieces, or bytes, of one side."""
    sides = [tokenizers[ours], tokenizers["gpt2"]]
    for text in CORPUS:
        ids = [side.encode_targets([text])[0] for side in sides]
        found = align(*(side.target_places([text])[0] for side in sides))
        spans = []
        for side, own, firsts in zip(sides, ids, (found.ours, found.theirs), strict=True):
            parts = [own[a:b] for a, b in itertools.pairwise(firsts)]
            spans.append([bare(part) for part in side.decode(parts)])
        assert spans[0] == spans[1], text
        assert "".join(spans[0]) == bare(text)


@pytest.mark.parametrize("name", ["small", "large", "gpt2"])
def test_a_tokenizer_is_aligned_with_itself_token_by_token(tokenizers, name):
    """But for what shares a character: the bytes of one, or what it was normalised to."""
    for places in tokenizers[name].target_places(TEXTS):  # of plain letters
        found = align(places, places)
        begun = [n for n, (begin, end) in enumerate(places) if n == 0 or end > begin > 0]
        assert found.ours == found.theirs == [*begun, len(places)]
    for places in tokenizers[name].target_places(HARD):
        found = align(places, places)
        assert found.ours == found.theirs
        assert len(found.ours) > len(places) / 4


def test_the_rule_of_cuts_by_hand():
    assert cuts([(0, 2), (3, 5), (5, 6)]) == {0: 0, 2: 1, 5: 2}  # a space that nobody has
    assert cuts([(0, 2), (2, 5), (5, 6)]) == {0: 0, 2: 1, 5: 2}  # a space that the second has
    assert cuts([(0, 1), (1, 2), (1, 2), (2, 3)]) == {0: 0, 1: 1, 2: 3}  # two bytes of one letter
    assert cuts([(0, 1), (0, 2), (2, 3)]) == {0: 0, 2: 2}  # overlapping
    assert cuts([(0, 0), (0, 1), (1, 1), (1, 3)]) == {0: 0, 1: 3}  # no width
    assert cuts([]) == {0: 0}


def test_an_alignment_by_hand():
    """`ab|c d` and `a|bc| d`: they meet before the space and at both ends."""
    found = align([(0, 2), (2, 3), (3, 5)], [(0, 1), (1, 3), (4, 5)])
    assert (found.ours, found.theirs) == ([0, 2, 3], [0, 2, 3])
    assert found.alike == [True, True, True]
    assert found.lengths == (4, 4)


def test_what_is_no_text_begins_no_position_that_is_alike():
    """A language before the text belongs to the first span, whose first tokens are not alike."""
    found = align([(0, 2), (3, 5)], [(0, 0), (0, 2), (2, 5)])
    assert (found.ours, found.theirs) == ([0, 1, 2], [0, 2, 3])
    assert found.alike == [False, True, True]


def test_a_span_with_an_unknown_token_is_spelled_by_neither_side():
    """`ab|c| d` and `a|bc| d` with an unknown first token here, then an unknown last one there."""
    here, there = [(0, 2), (2, 3), (3, 5)], [(0, 1), (1, 3), (4, 5)]
    assert align(here, there).spelled == [True, True, True]
    assert align(here, there, ({1}, set())).spelled == [False, True, True]
    assert align(here, there, (set(), {2})).spelled == [True, False, True]
    assert align([], [(0, 1)], (set(), {0})).spelled == [False]


def test_a_text_that_one_side_does_not_see_is_one_span():
    found = align([], [(0, 1)])
    assert (found.ours, found.theirs, found.alike, found.lengths) == ([0], [0], [False], (1, 2))
    assert align([], []).alike == [True]


def test_a_tokenizer_that_cannot_tell_is_refused(tmp_path):
    make_whole("marian", tmp_path)
    assert not transformers.AutoTokenizer.from_pretrained(tmp_path).is_fast
    maker = Pretrained(path=str(tmp_path))
    with pytest.raises(UserError, match=r"MarianTokenizer cannot tell where .*tokenizer\.json"):
        maker.refuse_without_places()
