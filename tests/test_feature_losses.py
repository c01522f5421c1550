"""Losses of inner states: their formulas, and terms on real models with padding."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import FAMILIES, SPECIAL, needs_bfloat16, toy_examples, toy_structure
from loss_cases import FEATURES, configured
from torch import nn

from nlg_distill.data.batch import IGNORE_INDEX, Author, Batch, collate
from nlg_distill.errors import UserError
from nlg_distill.losses import (
    HiddenStateTerm,
    attention_kl,
    hidden_cosine,
    hidden_mse,
    value_relation_kl,
)
from nlg_distill.models.output import Features, ModelOutput
from nlg_distill.teachers.signal import SparseDistribution, TeacherSignal

EXAMPLES = toy_examples(6)


@pytest.fixture
def batch():
    return collate(EXAMPLES, SPECIAL)


@pytest.fixture(params=FEATURES)
def name(request):
    return request.param


@pytest.fixture(params=FAMILIES)
def models(request):
    """Makes a student and a teacher of one family."""

    def make(student_size=8, teacher_size=12):
        torch.manual_seed(2)
        student, teacher = (
            toy_structure(request.param, hidden_size=size) for size in (student_size, teacher_size)
        )
        return student, teacher.eval()

    return make


def value(term, student, teacher, batch):
    with torch.no_grad():
        signal = TeacherSignal(teacher(batch))
    return term(student(batch), signal, batch)


def test_is_zero_with_zero_gradient_where_student_equals_teacher(name, models, batch):
    model = models()[0]
    found = value(configured(name), model, model, batch)
    assert found.abs() <= 1e-5
    found.backward()
    slopes = [p.grad.abs().max() for p in model.parameters() if p.grad is not None]
    assert slopes
    assert max(slopes) <= 1e-5


def test_is_positive_elsewhere_and_a_step_reduces_it(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    before = value(term, student, teacher, batch)
    assert before > 1e-5
    before.backward()
    trained = [p for p in (*student.parameters(), *term.parameters()) if p.grad is not None]
    square = sum(p.grad.square().sum() for p in trained)
    assert square > 0
    with torch.no_grad():
        for parameter in trained:
            parameter -= 0.1 * before / square * parameter.grad
    assert value(term, student, teacher, batch) < 0.97 * before


def test_padding_changes_nothing(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    pad = torch.nn.functional.pad
    wider = Batch(
        pad(batch.source_ids, (0, 2), value=SPECIAL.pad),
        pad(batch.source_mask, (0, 2), value=False),
        pad(batch.decoder_input_ids, (0, 3), value=SPECIAL.pad),
        pad(batch.labels, (0, 3), value=IGNORE_INDEX),
        batch.example_ids,
        batch.authors,
    )
    expected = value(term, student, teacher, batch)
    torch.testing.assert_close(value(term, student, teacher, wider), expected)


def test_the_sum_does_not_depend_on_how_a_batch_is_split(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    parts = [
        value(term, student, teacher, collate(rows, SPECIAL))
        for rows in (EXAMPLES[:1], EXAMPLES[1:4], EXAMPLES[4:])
    ]
    whole = value(term, student, teacher, batch)
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_a_term_counts_the_texts_of_one_author_at_source_and_target(name, models, batch):
    student, teacher = models()
    batch.authors[2:] = Author.STUDENT
    term = configured(name, teacher_size=12, written_by="gold")
    others = configured(name, teacher_size=12)
    others.load_state_dict(term.state_dict())
    alone = collate(EXAMPLES[:2], SPECIAL)
    expected = value(others, student, teacher, alone)
    torch.testing.assert_close(value(term, student, teacher, batch), expected)


@needs_bfloat16
def test_half_precision_and_masked_attention_give_finite_gradients(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(term, student, teacher, batch)
    assert found.dtype == torch.float32
    found.backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


def test_a_teacher_that_shows_no_inner_states_is_refused(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    logits = teacher(batch).logits
    signals = [
        TeacherSignal(),
        TeacherSignal(log_probs=logits.log_softmax(-1)),
        TeacherSignal(sparse=SparseDistribution.of(logits, 3)),
    ]
    for signal in signals:
        with pytest.raises(UserError, match="set teacher=live"):
            term(student(batch), signal, batch)


def test_layers_are_named_and_stand_at_the_same_positions(name, models, batch):
    student, teacher = models()
    term = configured(name, teacher_size=12)
    term.layers = {"decoder.9": "decoder"}
    with pytest.raises(UserError, match=r"the student has .* as .*, got decoder\.9"):
        value(term, student, teacher, batch)
    term.layers = {"encoder": "decoder"}
    with pytest.raises(UserError, match="do not stand at the same positions"):
        value(term, student, teacher, batch)
    with pytest.raises(UserError, match="at least one student layer"):
        type(term)(loss=term.loss, layers={}, **sizes_of(term))


def sizes_of(term):
    return {"student_size": 8, "teacher_size": 12} if hasattr(term, "projections") else {}


def test_what_stands_at_source_and_at_target_is_summed_apart(models, batch):
    student, teacher = models(8, 8)
    both = configured("hidden_mse")
    mine, other = student(batch).features.hidden_states, teacher(batch).features.hidden_states
    squares = {side: (mine[side] - other[side]).square().mean(-1) for side in mine}
    expected = squares["encoder"][batch.source_mask].sum()
    expected = expected + squares["decoder"][batch.target_mask].sum()
    torch.testing.assert_close(value(both, student, teacher, batch), expected)
    torch.testing.assert_close(
        both.per_token(student(batch), TeacherSignal(teacher(batch)), batch), squares["decoder"]
    )


def test_projections_are_trained_by_the_term_and_keep_lengths():
    term = configured("hidden_mse", student_size=4, teacher_size=8)
    assert {*term.state_dict()} == {"projections.0.weight", "projections.1.weight"}
    states = torch.randn(5, 4)
    torch.testing.assert_close(term.projections[0](states).norm(dim=-1), states.norm(dim=-1))


@pytest.mark.parametrize("name", ["hidden_mse", "hidden_cosine"])
def test_states_of_equal_width_are_compared_without_a_projection(name, models, batch):
    student, teacher = models(8, 8)
    term = configured(name)
    assert not list(term.parameters())
    assert not term.state_dict()
    mine, other = (model(batch).features.hidden_states for model in (student, teacher))
    distance = {side: term.loss(mine[side], other[side]) for side in mine}
    expected = distance["encoder"][batch.source_mask].sum()
    expected = expected + distance["decoder"][batch.target_mask].sum()
    torch.testing.assert_close(value(term, student, teacher, batch), expected)


def test_hidden_losses_by_hand():
    student, teacher = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert hidden_mse(student, teacher).item() == pytest.approx(1.0)
    assert hidden_cosine(student, teacher).item() == pytest.approx(1 - 24 / 25)
    assert hidden_cosine(5 * student, teacher).item() == pytest.approx(1 - 24 / 25)
    nothing = torch.zeros(2, requires_grad=True)
    hidden_cosine(nothing, teacher).backward()
    assert nothing.grad.isfinite().all()


def rows(*probabilities):
    """One batch, these heads, one query."""
    return torch.tensor(probabilities)[None, :, None]


def test_attention_kl_by_hand():
    teacher, student = (
        rows([0.5, 0.5, 0.0], [1.0, 0.0, 0.0]),
        rows([0.25, 0.75, 0.0], [0.5, 0.5, 0]),
    )
    first = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert attention_kl(student, teacher).item() == pytest.approx((first + math.log(2)) / 2)
    one = rows([0.25, 0.75, 0.0])
    with pytest.raises(UserError, match="student has 1 and the teacher 2: set average_heads=true"):
        attention_kl(one, teacher)
    mean = 0.75 * math.log(3) + 0.25 * math.log(1 / 3)  # (3/4, 1/4) against (1/4, 3/4)
    assert attention_kl(one, teacher, average_heads=True).item() == pytest.approx(mean)


def test_attention_rows_that_were_rounded_to_bfloat16_have_a_kl_of_at_least_zero():
    scores = torch.randn(64, 1, 9, 12)
    near = scores + 1e-3 * torch.randn_like(scores)
    found = attention_kl(near.softmax(-1).bfloat16(), scores.softmax(-1).bfloat16())
    assert found.dtype == torch.float32
    assert found.min() > -1e-6


def test_value_relations_by_hand():
    everything = torch.ones(1, 2, dtype=torch.bool)
    teacher = torch.tensor([[[[1.0], [0.0]]]])  # products 1, 0 / 0, 0
    student = torch.zeros(1, 1, 2, 3)
    p = 1 / (1 + math.exp(-1))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    found = value_relation_kl(student, teacher, everything)
    torch.testing.assert_close(found, torch.tensor([[expected, 0.0]]))
    wide = torch.tensor([[[[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]])  # 4 / sqrt(4) = 2
    p = 1 / (1 + math.exp(-2))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    found = value_relation_kl(student, wide, everything)
    assert found[0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_value_relations_are_in_float32_also_under_autocast():
    values, mask = torch.randn(2, 1, 2, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    expected = value_relation_kl(*values, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value_relation_kl(*values, mask)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_value_relations_leave_padding_out():
    student, teacher = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 5)
    mask = torch.tensor([[True, True, False]])
    expected = value_relation_kl(student[:, :, :2], teacher[:, :, :2], mask[:, :2])
    found = value_relation_kl(student, teacher, mask)
    torch.testing.assert_close(found[:, :2], expected)
    assert found[0, 2] == 0


def test_value_relations_of_other_numbers_of_heads_are_cut_anew():
    student, teacher = torch.randn(1, 2, 3, 4), torch.randn(1, 4, 3, 3)
    mask = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(UserError, match="the student has 2 and the teacher 4: set relation_heads"):
        value_relation_kl(student, teacher, mask)
    joined = [side.transpose(1, 2).flatten(2)[:, None] for side in (student, teacher)]
    expected = value_relation_kl(*joined, mask)
    torch.testing.assert_close(
        value_relation_kl(student, teacher, mask, relation_heads=1), expected
    )
    same = value_relation_kl(student, student, mask, relation_heads=2)
    torch.testing.assert_close(same, torch.zeros(1, 3))
    with pytest.raises(UserError, match="relation_heads=5 must divide the student's joined"):
        value_relation_kl(student, teacher, mask, relation_heads=5)


@pytest.mark.parametrize("loss", [hidden_mse, hidden_cosine])
def test_hidden_gradients_are_the_numerical_ones(loss):
    student, teacher = torch.randn(2, 2, 3, 4).double()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student.requires_grad_(),))


def test_attention_and_value_gradients_are_the_numerical_ones():
    scores, teacher = torch.randn(2, 1, 2, 3, 3).double()
    assert torch.autograd.gradcheck(
        lambda s: attention_kl(s.softmax(-1), teacher.softmax(-1)), (scores.requires_grad_(),)
    )
    mask = torch.tensor([[True, True, False]])
    assert torch.autograd.gradcheck(
        lambda s: value_relation_kl(s, teacher, mask), (scores.detach().requires_grad_(),)
    )


def test_attention_that_a_student_lacks_gives_finite_gradients():
    student = rows([1.0, 0.0]).requires_grad_()
    attention_kl(student, rows([0.5, 0.5])).sum().backward()
    assert student.grad.isfinite().all()


def test_features_of_other_models_take_any_layers(batch):
    """A student of one layer learns from the third of a teacher, by their names."""
    states = torch.randn(*batch.labels.shape, 6)
    student = ModelOutput(states, nn.Identity(), Features({"decoder.1": states}))
    teacher = replace(student, features=Features({"decoder.3": states + 2.0}))
    term = HiddenStateTerm(
        loss=hidden_mse, layers={"decoder.1": "decoder.3"}, student_size=6, teacher_size=6
    )
    found = term(student, TeacherSignal(teacher), batch)
    torch.testing.assert_close(found, 4.0 * batch.target_mask.sum())
