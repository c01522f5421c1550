"""Scores of texts against numbers made by hand, and against the libraries they come from."""

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from nlg_distill.errors import UserError
from nlg_distill.text_metrics import (
    bleu,
    bleu_signature,
    chrf,
    chrf_signature,
    distinct,
    length_ratio,
    repetition,
    rouge,
    rouge_signature,
    sari,
)

TEXTS = ["the cat sat on the mat", "police killed the gunmen", "no"]
REFERENCES = ["the cat is on the mat", "the gunman was killed by police", "no no"]
NONE = ["", "", ""]


def test_bleu_and_chrf_are_sacrebleu_s():
    scores = bleu(TEXTS, REFERENCES, NONE), chrf(TEXTS, REFERENCES, NONE)
    assert scores[0] == pytest.approx(sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score)
    assert scores[1] == pytest.approx(sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score)
    assert "tok:13a" in bleu_signature(TEXTS, REFERENCES, NONE)
    assert "nc:6" in chrf_signature(TEXTS, REFERENCES, NONE)


def test_a_tokenizer_that_sacrebleu_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"tokenize=words must be one of 13a, char, "):
        bleu(TEXTS, REFERENCES, NONE, tokenize="words")


def test_bleu_of_characters_is_for_texts_without_spaces():
    texts, references = ["私は猫がとても好きです。"], ["私は犬がとても好きです。"]
    assert bleu(texts, references, [""]) == 0
    found = bleu(texts, references, [""], tokenize="char")
    assert found == pytest.approx(sacrebleu.corpus_bleu(texts, [references], tokenize="char").score)
    assert found > 50
    assert "tok:char" in bleu_signature(texts, references, [""], tokenize="char")


def test_length_ratio_by_hand():
    assert length_ratio(TEXTS, REFERENCES, NONE) == pytest.approx(11 / 14)


def test_repetition_by_hand():
    assert repetition(["a b a b a"], [], []) == pytest.approx(2 / 4)  # ab ba ab ba
    assert repetition(["a b c", "a b c"], [], []) == 0.0
    assert repetition(["a", ""], [], []) == 0.0


def test_distinct_by_hand():
    texts = ["a b a b", "a c"]
    assert distinct(texts, [], [], n=1) == pytest.approx(3 / 6)  # a b c
    assert distinct(texts, [], [], n=2) == pytest.approx(3 / 6)  # ab ba ac, of six words
    assert distinct(["", ""], [], [], n=1) == 0.0


@pytest.mark.parametrize(
    ("variant", "first", "second", "third"),
    [
        ("rouge1", 5 / 6, 3 / 5, 2 / 3),  # killed, police, the; gunmen is not gunman
        ("rouge2", 3 / 5, 0, 0),  # the-cat on-the the-mat
        ("rougeL", 5 / 6, 1 / 5, 2 / 3),  # the cat on the mat; one word in order, of four and six
    ],
)
def test_rouge_by_hand(variant, first, second, third):
    found = [rouge([t], [r], [""], variant=variant) for t, r in zip(TEXTS, REFERENCES, strict=True)]
    assert found == pytest.approx([100 * first, 100 * second, 100 * third])
    assert rouge(TEXTS, REFERENCES, NONE, variant=variant) == pytest.approx(sum(found) / 3)


@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_google_s(variant):
    pairs = [("Dogs were running, loudly!", "A dog ran loudly."), ("Größe 3", "größe 3"), ("", "a")]
    scorer = RougeScorer([variant], use_stemmer=True)
    expected = [scorer.score(reference, text)[variant].fmeasure for text, reference in pairs]
    texts, references = zip(*pairs, strict=True)
    found = rouge(texts, references, ["", "", ""], variant=variant)
    assert found == pytest.approx(100 * sum(expected) / 3)
    assert rouge_signature(texts, references, [""] * 3).startswith("rouge-score:0.1")


SOURCE = "about 95 species are currently accepted ."


def test_sari_of_a_copy_of_the_reference_is_100():
    text = "about 95 species are now agreed ."
    assert sari([text], [text], [SOURCE]) == pytest.approx(100)


def f1(precision, recall):
    return 2 * precision * recall / (precision + recall)


def test_sari_by_hand():
    reference, text = "about 95 species are now accepted .", "about 95 species are now agreed ."
    # n = 1: now, agreed added, now was to be; five of six words kept; currently, accepted deleted.
    # n = 2: are-now of three, and of two; three of four; two of the three that hold them.
    # n = 3: species-are-now of three, and of three; two of two; all three deleted rightly.
    # n = 4: 95-species-are-now likewise; one of one; all three.
    add = f1((1 / 2 + 1 / 3 + 1 / 3 + 1 / 3) / 4, (1 + 1 / 2 + 1 / 3 + 1 / 3) / 4)
    keep = f1(1, (5 / 6 + 3 / 4 + 1 + 1) / 4)
    delete = (1 / 2 + 2 / 3 + 1 + 1) / 4
    assert sari([text], [reference], [SOURCE]) == pytest.approx(100 * (add + keep + delete) / 3)


def test_sari_of_two_words_has_nothing_of_longer_n_grams():
    # a b -> a c, where a d was right. Unigrams: c added, d was right; a kept; b deleted, rightly.
    # Bigrams: ac added, ad was right; none kept or to keep; ab deleted, rightly.
    add, keep, delete = 0, 1 / 4, 2 / 4
    assert sari(["a c"], ["a d"], ["a b"]) == pytest.approx(100 * (add + keep + delete) / 3)


def test_sari_of_a_text_that_changes_nothing():
    # a b left as it is, where a c was right: a is kept rightly and b is not, ab is not; of what was
    # to be kept, a, nothing is missing. Nothing is added, and nothing deleted: 0 each.
    keep = f1((1 / 2 + 0) / 4, 1 / 4)
    assert sari(["a b"], ["a c"], ["a b"]) == pytest.approx(100 * keep / 3)
    assert sari([SOURCE], ["nothing in common"], [SOURCE]) == 0
    assert sari([SOURCE], [SOURCE], [SOURCE]) == pytest.approx(100 / 3)


def test_sari_looks_at_the_source_and_not_at_case_or_the_space_before_a_full_stop():
    better, worse = ["a b ."], ["x b ."]
    assert sari(better, ["a b"], ["c b"]) > sari(worse, ["a b"], ["c b"])
    assert sari(["a b"], ["a b"], ["a c"]) != sari(["a d"], ["a b"], ["a c"])
    plain = sari(["a b c d ."], ["a b c d ."], ["x ."])
    assert sari(["A b c D."], ["a B c d ."], ["x."]) == plain > 0


def test_sari_is_the_mean_over_texts():
    texts, references, sources = ["a c", "a b"], ["a d", "a c"], ["a b", "a b"]
    single = [sari([t], [r], [s]) for t, r, s in zip(texts, references, sources, strict=True)]
    assert sari(texts, references, sources) == pytest.approx(sum(single) / 2)
