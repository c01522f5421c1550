"""The binary KL of spans, the positions that are alike, and a teacher with other tokens."""

import math
from dataclasses import replace
from functools import partial

import oracles
import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model
from loss_cases import batch_of, configured, output

from nlg_distill.data.batch import IGNORE_INDEX, Author, Example, collate
from nlg_distill.data.spans import Alignment
from nlg_distill.distributions import log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses import (
    AdaptiveSkewTerm,
    CrossVocabularyTerm,
    DivergenceTerm,
    SpanTerm,
    StudentLossWeights,
    TeacherEntropyWeights,
    forward_kl,
    skew_forward_kl,
    sorted_wasserstein,
    span_kl,
)
from nlg_distill.losses.span_kl import span_log_odds
from nlg_distill.modules import TeacherModule
from nlg_distill.modules.diagnostics import distributions, entropy
from nlg_distill.teachers.aligned import AlignedTeacher, aligned_share
from nlg_distill.teachers.ensemble import EnsembleTeacher
from nlg_distill.teachers.live import LiveTeacher
from nlg_distill.teachers.modes import SamplesMode, SpansMode, TopKMode
from nlg_distill.teachers.piece_mapping import PieceMapping
from nlg_distill.teachers.signal import ACROSS_TOKENIZERS, Gives, TeacherSignal

LABELS = torch.tensor([[1, 4, 0, 2, 3], [6, 6, 5, IGNORE_INDEX, IGNORE_INDEX]])
FIRSTS = [[0, 2, 3], [0, 1]]
BEGINS = torch.zeros(2, 5, dtype=torch.bool)
for row, firsts in enumerate(FIRSTS):
    BEGINS[row, firsts] = True
LENGTHS = [5, 3]


def spans():
    """Of each span its row, its first token and the one after its last."""
    for row, firsts in enumerate(FIRSTS):
        yield from ((row, a, b) for a, b in zip(firsts, [*firsts[1:], LENGTHS[row]], strict=True))


def logits(seed, size=7, dtype=torch.float64):
    return (2 * torch.randn(2, 5, size, generator=torch.Generator().manual_seed(seed))).to(dtype)


def spelled(given, row, begin, end):
    """The probability of a span's labels, in plain Python."""
    rows = [oracles.softmax(given[row, t].tolist()) for t in range(begin, end)]
    return oracles.product(rows, LABELS[row, begin:end].tolist())


def test_log_odds_of_a_span_are_those_of_its_text():
    given = logits(1)
    found = span_log_odds(given, LABELS, BEGINS)
    expected = torch.zeros(2, 5, dtype=torch.float64)
    for row, begin, end in spans():
        p = spelled(given, row, begin, end)
        expected[row, begin] = math.log(p / (1 - p))
    torch.testing.assert_close(found, expected)
    assert span_log_odds(given[:, :0], LABELS[:, :0], BEGINS[:, :0]).shape == (2, 0)
    none = torch.full_like(LABELS, IGNORE_INDEX)
    assert (span_log_odds(given, none, torch.zeros_like(BEGINS)) == 0).all()


def test_the_divergence_of_a_span_is_that_of_its_text_against_all_others():
    student, teacher = logits(1), logits(2)
    odds = span_log_odds(teacher, LABELS, BEGINS)
    expected = torch.zeros(2, 5, dtype=torch.float64)
    for row, begin, end in spans():
        p, q = (spelled(side, row, begin, end) for side in (teacher, student))
        expected[row, begin] = oracles.kl([p, 1 - p], [q, 1 - q])
    torch.testing.assert_close(span_kl(student, odds, LABELS, BEGINS), expected)
    assert (expected[BEGINS] > 0).all()
    single = span_kl(student.float(), odds.float(), LABELS, BEGINS)
    torch.testing.assert_close(single.double(), expected, atol=1e-6, rtol=2e-6)


def test_the_gradient_of_spans_of_several_tokens_is_the_numerical_one():
    student, odds = logits(1).requires_grad_(), span_log_odds(logits(2), LABELS, BEGINS)
    assert torch.autograd.gradcheck(lambda x: span_kl(x, odds, LABELS, BEGINS), (student,))


def test_it_is_zero_without_gradient_where_both_say_the_same():
    student = logits(1, dtype=torch.float32).requires_grad_()
    odds = span_log_odds(student.detach(), LABELS, BEGINS)
    value = span_kl(student, odds, LABELS, BEGINS)
    value.sum().backward()
    assert value.abs().max() <= 1e-6
    assert student.grad.abs().max() <= 1e-6


@pytest.mark.parametrize("height", [-40.0, 12.0, 25.0])
def test_probabilities_near_0_and_1_are_exact(height):
    """1 - P of a sure teacher is not what rounding leaves of 1."""
    sure = torch.zeros(2, 5, 7)
    sure.scatter_(-1, LABELS.clamp(min=0)[..., None], height)
    found = span_log_odds(sure, LABELS, BEGINS)
    exact = span_log_odds(sure.double(), LABELS, BEGINS)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    values = span_kl(sure, -found, LABELS, BEGINS)
    assert (values[BEGINS] > 1).all()
    assert values.isfinite().all()


def test_padding_is_in_no_span_even_nan():
    student, teacher = logits(1), logits(2)
    odds = span_log_odds(teacher, LABELS, BEGINS)
    expected = span_kl(student, odds, LABELS, BEGINS)
    student[1, 3:], teacher[1, 4:] = torch.nan, torch.nan
    student.requires_grad_()
    value = span_kl(student, span_log_odds(teacher, LABELS, BEGINS), LABELS, BEGINS)
    value.sum().backward()
    torch.testing.assert_close(value, expected)
    assert (student.grad.nan_to_num(7.0)[1, 3:] == 0).all()


def test_it_is_at_most_the_kl_of_the_distributions():
    """Merging outcomes lowers a KL: all texts of two tokens, against one of them."""
    student, teacher = logits(1), logits(2)
    one = DivergenceTerm(loss=forward_kl)
    batch = batch_of(LABELS)
    whole = one.per_token(output(student), TeacherSignal(output(teacher)), batch)
    merged = SpanTerm(loss=span_kl).per_token(
        output(student), TeacherSignal(output(teacher)), batch
    )
    assert (merged <= whole)[batch.target_mask].all()
    first, second = (
        [oracles.softmax(side[0, t].tolist()) for t in (0, 1)] for side in (teacher, student)
    )
    p, q = ([a * b for a in pair[0] for b in pair[1]] for pair in (first, second))
    odds = span_log_odds(teacher, LABELS, BEGINS)
    assert 0 < span_kl(student, odds, LABELS, BEGINS)[0, 0] <= oracles.kl(p, q)


# A teacher with other tokens: the student's texts have 7 kinds of them, the teacher's 9.

OURS = [Example(0, [3, 4], [3, 4, 5, 6]), Example(1, [5], [6, 3]), Example(2, [4, 4, 4], [3])]
THEIRS = [Example(0, [7], [8, 3, 4]), Example(1, [8, 3], [5, 5, 6]), Example(2, [6], [])]
ALIGNED = [
    Alignment([0, 1, 3, 4], [0, 1, 2, 3], [True, True, False, True], [True] * 4, (5, 4)),
    Alignment([0, 2], [0, 3], [True, True], [True] * 2, (3, 4)),
    Alignment([0], [0], [False], [True], (2, 1)),
]
OTHER = replace(SPECIAL, pad=2, end=0)
MAPPING = PieceMapping.of(OURS, THEIRS, ALIGNED, ends=(SPECIAL.end, OTHER.end), sizes=(7, 9))


def live(size=9, seed=4):
    torch.manual_seed(seed)
    return LiveTeacher(TeacherModule(toy_model(size, hidden_size=8, embedding_std=1.0), OTHER))


def aligned(source=None, alignments=ALIGNED):
    return AlignedTeacher(source or live(), OTHER, THEIRS, alignments, MAPPING)


def batch():
    """Not in the order of the examples."""
    return collate([OURS[i] for i in (1, 0, 2)], SPECIAL)


def test_what_the_teacher_says_of_a_span_stands_at_the_students_first_token_of_it():
    source, found = live(), aligned()(batch())
    odds = found.span_log_odds
    assert (~odds.isnan()).nonzero().tolist() == [
        [0, 0], [0, 2], [1, 0], [1, 1], [1, 3], [1, 4], [2, 0]
    ]  # fmt: skip
    for row, number in enumerate((1, 0, 2)):
        alone = collate([THEIRS[number]], OTHER)  # no padding beside it
        said = source(alone).output.logits.softmax(-1)[0]
        labels = [*THEIRS[number].target_ids, OTHER.end]
        spans = ALIGNED[number]
        ends = [*spans.theirs[1:], len(labels)]
        for ours, begin, end in zip(spans.ours, spans.theirs, ends, strict=True):
            p = math.prod(float(said[t, labels[t]]) for t in range(begin, end))
            assert float(odds[row, ours]) == pytest.approx(math.log(p / (1 - p)), rel=1e-4)


def test_positions_that_are_alike_have_the_teachers_distribution_after_the_same_text():
    source, found = live(), aligned()(batch()).alike
    assert found.mask.nonzero().tolist() == [[0, 0], [0, 2], [1, 0], [1, 1], [1, 4]]
    expected = []
    for number, positions in (1, [0, 3]), (0, [0, 1, 3]):
        said = source(collate([THEIRS[number]], OTHER)).output.logits[0]
        expected.append(said[positions])
    torch.testing.assert_close(found.output.logits, torch.cat(expected))
    assert not found.output.logits.requires_grad


def test_a_span_that_a_side_does_not_spell_is_begun_and_not_compared():
    """The span before it ends where it begins."""
    first, *others = ALIGNED
    unspelled = replace(first, spelled=[True, False, True, True])
    source = aligned(alignments=[unspelled, *others])
    student, given = output(torch.randn(3, 5, 7)), batch()
    term = SpanTerm(loss=span_kl)
    whole, less = (term.per_token(student, s(given), given) for s in (aligned(), source))
    assert whole[1, 1] > 0
    expected = whole.index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(0.0))
    torch.testing.assert_close(less, expected)
    kept = SpansMode(None, 9, quantised=None)
    records = kept.encode(kept.read(source(given), given), torch.Generator())
    stored = kept.decode(records[None]).span_log_odds
    assert stored.isinf().sum() == 1


def test_sorted_probabilities_are_compared_at_those_positions_alone():
    student = torch.randn(3, 5, 7, requires_grad=True)
    signal, given = aligned()(batch()), batch()
    term = configured("sorted_wasserstein")
    value = term.per_token(output(student), signal, given)
    mask = signal.alike.mask
    expected = sorted_wasserstein(student[mask], signal.alike.output.logits)
    torch.testing.assert_close(value[mask], expected)
    assert (value[~mask] == 0).all()
    value.sum().backward()
    assert (student.grad[mask].abs().sum(-1) > 0).all()
    assert (student.grad[~mask] == 0).all()


@pytest.mark.parametrize("weights", [TeacherEntropyWeights(), StudentLossWeights(share=0.4)])
def test_what_is_wrapped_around_it_sees_those_positions(weights):
    student = torch.randn(3, 5, 7)
    signal, given = aligned()(batch()), batch()
    plain = CrossVocabularyTerm(loss=sorted_wasserstein)
    term = CrossVocabularyTerm(loss=sorted_wasserstein, token_weights=weights)
    value, whole = (t.per_token(output(student), signal, given) for t in (term, plain))
    factor = (value / whole)[signal.alike.mask]
    assert ((factor >= 0) & (factor <= 1)).all()
    assert len({*factor.tolist()}) > 1


def test_authors_are_told_apart_across_tokenizers():
    given = batch()
    given.authors[1] = Author.TEACHER
    signal, student = aligned()(given), output(torch.randn(3, 5, 7))
    for name in ("span_kl", "sorted_wasserstein"):
        parts = [
            configured(name, written_by=who)(student, signal, given) for who in ("gold", "teacher")
        ]
        torch.testing.assert_close(sum(parts), configured(name)(student, signal, given))
        assert min(parts) > 0


def test_with_the_same_tokens_it_is_the_plain_teacher():
    examples = toy_examples(6)
    alike = [
        Alignment(
            range(len(e.target_ids) + 1),
            range(len(e.target_ids) + 1),
            [True] * (len(e.target_ids) + 1),
            [True] * (len(e.target_ids) + 1),
            (len(e.target_ids) + 1,) * 2,
        )
        for e in examples
    ]
    torch.manual_seed(3)
    plain = LiveTeacher(TeacherModule(toy_model(7), SPECIAL))
    same = PieceMapping(torch.arange(7).repeat(2, 1), student_size=7, teacher_size=7)
    source = AlignedTeacher(plain, SPECIAL, examples, alike, same)
    given = collate(examples, SPECIAL)
    student = output(torch.randn(*given.labels.shape, 7))
    assert aligned_share(alike) == 1
    for name in ("span_kl", "sorted_wasserstein", "forward_kl", "decoupled_kl", "taid", "top_k_kl"):
        term = configured(name)
        torch.testing.assert_close(
            term(student, source(given), given), term(student, plain(given), given)
        )


def test_a_teacher_that_gives_no_numbers_is_refused_and_not_taken_for_one_without_spans():
    source = live()
    with torch.no_grad():
        source.model.projection.weight[3] = torch.nan
    with pytest.raises(UserError, match=r"the teacher gives no numbers \(NaN\)"):
        aligned(source)(batch())


def test_an_ensemble_is_aligned_as_one_model_is():
    both = EnsembleTeacher(live().module, live().module, seeds=[1, 2])
    one, two = aligned()(batch()), aligned(both)(batch())
    torch.testing.assert_close(one.span_log_odds, two.span_log_odds, equal_nan=True)
    torch.testing.assert_close(log_probs(one.alike.output.logits), two.alike.output.logits)


def test_what_is_aligned_is_said_before_training():
    assert aligned_share(ALIGNED) == 7 / 10
    live_config = {"_target_": "nlg_distill.teachers.live.LiveTeacher"}
    assert AlignedTeacher.gives(live_config) == ACROSS_TOKENIZERS - {Gives.SAMPLES}
    assert aligned().model is None


# The student's tokens out of the teacher's.


def test_a_token_goes_over_to_what_stands_in_its_place_in_text():
    pairs = torch.tensor([[1, 1, 2, 0], [4, 4, 4, 3]])
    mapping = PieceMapping(pairs, student_size=3, teacher_size=5)
    given = torch.tensor([[0.1, 0.2, 0.1, 0.2, 0.4], [1.0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0]])
    expected = torch.tensor([[0.2, 0.4 * 2 / 3, 0.4 / 3], [0, 0, 0], [0.6, 0, 0]]) / 0.6
    torch.testing.assert_close(mapping(given.log()).exp(), expected)
    assert mapping(given.log()).isfinite().all()


def test_it_is_counted_where_both_go_on_from_the_same_text_ends_among_it():
    """The targets are 3 4 5 6, 6 3 and 3 of the student, 8 3 4, 5 5 6 and none of the teacher."""
    certain = torch.full((9, 9), -torch.inf).fill_diagonal_(0.0)
    known = {8: 3, 3: 4, 5: 6, OTHER.end: SPECIAL.end}
    expected = torch.zeros(9, 7)
    for theirs, ours in known.items():
        expected[theirs, ours] = 1.0
    torch.testing.assert_close(MAPPING(certain).exp(), expected)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "decoupled_kl", "sampled_kl"])
def test_distributions_are_compared_where_both_go_on_from_the_same_text(name):
    student = torch.randn(3, 5, 7, requires_grad=True)
    signal, given = aligned()(batch()), batch()
    where, mapped = signal.known, MAPPING(signal.alike.output.logits)
    torch.testing.assert_close(signal.logits[where], mapped)
    torch.testing.assert_close(mapped.exp().sum(-1), torch.ones(5))
    torch.manual_seed(1)
    value = configured(name)(output(student), signal, given)
    torch.manual_seed(1)
    plain = TeacherSignal(log_probs=signal.logits)
    each = configured(name).per_token(output(student), plain, given)
    torch.testing.assert_close(value, each[where].sum())
    assert value < 1000  # nats, also where the text never has a token
    value.backward()
    assert (student.grad[where].abs().sum(-1) > 0).all()
    assert (student.grad[~where] == 0).all()


def test_a_texts_own_alpha_is_of_its_positions_that_are_known():
    term = AdaptiveSkewTerm(loss=partial(skew_forward_kl, alpha=0.1))
    signal, given = aligned()(batch()), batch()
    term(output(torch.randn(3, 5, 7)), signal, given)
    assert term.seen[1] == 2  # texts; the third has no such position


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize(
    ("kind", "k", "name"), [(TopKMode, 7, "forward_kl"), (SamplesMode, 4000, "sampled_kl")]
)
def test_what_is_stored_stands_for_the_teacher_that_runs(kind, k, name, quantised):
    mode, source, given = kind(k, 7, quantised=quantised), aligned(), batch()
    stored = mode.encode(mode.read(source(given), given), torch.Generator().manual_seed(1))
    records = torch.zeros(*given.labels.shape, mode.bytes_per_token, dtype=torch.uint8)
    records[given.target_mask] = stored
    signal = mode.decode(records)
    mask = given.target_mask
    assert torch.equal(signal.known[mask], source(given).known[mask])
    student = output(torch.randn(3, 5, 7))
    settings = {"num_samples": k} if kind is SamplesMode else {}
    value = configured(name, **settings)(student, signal, given)
    live = configured("forward_kl")(student, source(given), given)
    torch.testing.assert_close(value, live, rtol=0.05 if kind is SamplesMode else 2e-3, atol=0)


def test_what_the_student_agrees_with_is_told_of_known_positions():
    signal, given = aligned()(batch()), batch()
    ours = signal.logits.masked_fill(~signal.known[..., None], 0.0)
    found = distributions(output(ours), signal, given)
    assert found["top_1_agreement"] == 1
    expected = entropy(signal.logits[signal.known]).mean()
    torch.testing.assert_close(found["teacher_entropy"], expected)
    assert found["student_entropy"] > found["teacher_entropy"]  # of all positions
