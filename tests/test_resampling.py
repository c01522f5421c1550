"""Paired tests on the test set, beside sacreBLEU's own."""

import random
from functools import partial

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from nlg_distill.tables.resampling import Compared, PairedTests, RowTest
from nlg_distill.tables.significance import MeanOfTexts, OfSacrebleu, counter_of
from nlg_distill.text_metrics import bleu, distinct, rouge, sari

WORDS = [f"word{i}" for i in range(50)]


def corpus(texts=120):
    draw = random.Random(1)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(texts)]

    def system(right):
        return [
            " ".join(w if draw.random() < right else draw.choice(WORDS) for w in text.split())
            for text in references
        ]

    return references, system(0.70), system(0.76)


def compared(counter, texts, others, **draws):
    tests = PairedTests(len(texts), counter.score, **draws)
    system, baseline = (tests.system(counter.count(t, t)) for t in (texts, others))
    return tests.compare(system, baseline), system


@pytest.mark.parametrize(("kind", "name"), [(BLEU, "BLEU"), (CHRF, "chrF2")])
def test_p_values_and_interval_are_those_of_sacrebleu(kind, name):
    references, worse, better = corpus()
    draws = {"resamples": 300, "trials": 400}
    ours, system = compared(OfSacrebleu(kind, references=references), better, worse, **draws)
    systems = [("worse", worse), ("better", better)]
    for test, samples, p_value in [
        ("bs", 300, ours.p_bootstrap),
        ("ar", 400, ours.p_randomisation),
    ]:
        paired = PairedTest(systems, {name: kind()}, [references], test, n_samples=samples)
        baseline, theirs = paired()[1][name]
        assert 0.005 < theirs.p_value < 0.9, "it says something"
        assert p_value == pytest.approx(theirs.p_value, abs=1e-9)
        assert ours.difference == pytest.approx(theirs.score - baseline.score)
        if test == "bs":
            assert system.half_interval == pytest.approx(theirs.ci, rel=1e-4)  # float32 there


def test_the_usual_numbers_of_draws_are_those_of_sacrebleu():
    references, worse, better = corpus(30)
    ours, _ = compared(OfSacrebleu(BLEU, references=references), better, worse)
    paired = PairedTest([("w", worse), ("b", better)], {"BLEU": BLEU()}, [references], "ar")
    assert ours.p_randomisation == paired()[1]["BLEU"][1].p_value


@pytest.mark.parametrize("other_texts", [0, 1])
def test_systems_that_write_nearly_the_same_differ_by_chance(other_texts):
    references, worse, better = corpus(20)
    nearly = [*better[:other_texts], *worse[other_texts:]]
    ours, _ = compared(OfSacrebleu(BLEU, references=references), nearly, worse)
    assert (ours.difference == 0) == (other_texts == 0)
    assert ours.p_randomisation == 1.0  # swapped or not, one text makes the same difference
    assert not ours.is_significant
    paired = PairedTest([("w", worse), ("n", nearly)], {"BLEU": BLEU()}, [references], "ar")
    assert paired()[1]["BLEU"][1].p_value == pytest.approx(1 / 10_001), "sacreBLEU does not mind"


def test_p_by_hand():
    # Three texts: one system is right in all, the other in none. Of the 8 ways to swap, all and
    # none make a difference as large.
    counter = MeanOfTexts(lambda t, r, s: float(t[0]), references=["1"] * 3)
    ours, system = compared(counter, ["1"] * 3, ["0"] * 3, trials=40_000)
    assert ours.difference == 1.0
    assert ours.p_randomisation == pytest.approx(2 / 8, abs=0.01)
    assert ours.p_bootstrap == 1 / 1_001  # every resample has the same difference: none is larger
    assert system.half_interval == 0.0


def test_the_mean_of_texts_is_the_metric():
    references, worse, _ = corpus(15)
    sources = [text.upper() for text in references]
    for metric, settings in [(rouge, {"variant": "rouge2"}), (sari, {})]:
        counter = MeanOfTexts(metric, references=references, **settings)
        counted = counter.count(worse, sources)
        expected = metric(worse, references, sources, **settings)
        assert counter.score(counted.sum(axis=0).tolist()) == pytest.approx(expected)
        assert 0 < expected < 100


def test_bleu_is_counted_with_the_settings_of_its_task():
    references, worse, _ = corpus(15)
    counter = counter_of(partial(bleu, tokenize="char"))(references=references)
    score = counter.score(counter.count(worse, worse).sum(axis=0).tolist())
    assert score == pytest.approx(bleu(worse, references, worse, tokenize="char"))
    assert score != pytest.approx(bleu(worse, references, worse))


def test_what_is_not_made_of_counts_in_texts_is_not_tested():
    assert counter_of(distinct) is None
    assert counter_of(None) is None


def beside(difference, p_bootstrap, p_randomisation):
    return Compared(float(difference), p_bootstrap, p_randomisation)


@pytest.mark.parametrize(
    ("tests", "agreeing", "is_clear"),
    [
        ([beside(1, 0.01, 0.01), beside(2, 0.01, 0.04), beside(1, 0.2, 0.01)], 2, True),
        ([beside(1, 0.01, 0.01), beside(2, 0.01, 0.06), beside(1, 0.2, 0.01)], 1, False),
        ([beside(3, 0.01, 0.01), beside(-1, 0.01, 0.01), beside(-1, 0.01, 0.01)], 1, False),
        ([beside(-1, 0.01, 0.01), beside(-2, 0.01, 0.01)], 2, True),
        ([beside(1, 0.01, 0.01), beside(1, 0.05, 0.01)], 1, False),  # half is not more
    ],
)
def test_a_row_is_clear_where_both_tests_are_at_more_than_half_of_the_seeds(
    tests, agreeing, is_clear
):
    row = RowTest(tests, 1.0)
    assert (row.agreeing, row.is_clear) == (agreeing, is_clear)
    assert str(row) == f"{agreeing}/{len(tests)}"


def test_half_an_interval_leaves_out_a_fortieth_on_each_side():
    tests = PairedTests(2, lambda row: row[0], resamples=80, trials=2)
    system = tests.system(np.array([[0.0], [1.0]]))
    system.resampled[:] = np.random.default_rng(0).permutation(80)
    assert system.half_interval == (77 - 2) / 2
