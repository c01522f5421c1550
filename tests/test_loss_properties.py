"""What every configured divergence must do. A new YAML under conf/loss is tested unasked."""

import inspect

import oracles
import pytest
import torch
from loss_cases import (
    DIVERGENCES,
    SPANS,
    VOCAB,
    configured,
    labels_like,
    settings_of,
    sides,
    summed,
    values,
)

from nlg_distill.data.batch import IGNORE_INDEX

DRAWN = "sampled_kl draws tokens: the property holds for its expectation, not for one draw"
EXEMPT = {
    ("sampled_kl", "zero gradient"): DRAWN,
    ("sampled_kl", "non-negative"): DRAWN,
    ("sampled_kl", "oracle"): DRAWN,
    ("sampled_kl", "batch"): "what is drawn at a position depends on the positions drawn before it",
    ("adaptive_kl", "gradcheck"): "its weights are functions of the student without gradient",
    ("taid", "gradcheck"): "the intermediate teacher is a function of the student without gradient",
}

COMPARED = [*DIVERGENCES, *SPANS]
ROUNDING = {name: 1e-6 for name in COMPARED}
ROUNDING["decoupled_kl"] *= 4**2 * (1 + 8)  # its config multiplies a KL by tau^2 (alpha + beta)


def exempt(name, what):
    if (name, what) in EXEMPT:
        pytest.skip(EXEMPT[name, what])


@pytest.fixture(params=COMPARED)
def name(request):
    return request.param


@pytest.fixture
def term(name):
    return configured(name)


def gradient(term, student, teacher):
    leaf = student.detach().clone().requires_grad_()
    value = values(term, leaf, teacher)
    value.sum().backward()
    return value.detach(), leaf.grad


def test_exemptions_name_what_exists():
    assert {name for name, _ in EXEMPT} <= {*DIVERGENCES}
    used = {what for _, what in EXEMPT}
    assert all(
        f'exempt(name, "{what}")' in inspect.getsource(inspect.getmodule(exempt)) for what in used
    )


def test_is_zero_where_student_equals_teacher(name, term):
    same = sides()[0]
    assert values(term, same, same.clone()).abs().max() <= ROUNDING[name]


def test_has_zero_gradient_where_student_equals_teacher(name, term):
    exempt(name, "zero gradient")
    same = sides()[0]
    assert gradient(term, same, same.clone())[1].abs().max() <= ROUNDING[name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_is_positive_elsewhere_and_per_token(name, term, dtype):
    """Trap 5: a divergence in bfloat16 came out negative (ms-swift#10156)."""
    exempt(name, "non-negative")
    student, teacher = sides(dtype=dtype)
    value = values(term, student, teacher)
    assert value.shape == (3, 4)
    assert (value > 0).all()
    near = values(term, teacher + 1e-3 * student, teacher)
    assert (near >= -ROUNDING[name]).all()


def test_does_not_change_when_a_constant_is_added_to_either_side(term):
    student, teacher = sides(dtype=torch.float64)
    expected = values(term, student, teacher)
    torch.testing.assert_close(values(term, student + 7.0, teacher), expected)
    torch.testing.assert_close(values(term, student, teacher - 3.0), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_agrees_with_a_float64_oracle(name, term, dtype):
    exempt(name, "oracle")
    student, teacher = sides(dtype=dtype)
    labels = labels_like(student)
    given = settings_of(name)
    if name == "top_k_kl":
        given = {"k": VOCAB}
    assert hasattr(oracles, name), (
        f"write {name}(student, teacher, label, **settings) into tests/oracles.py: of lists of "
        f"logits at one position, in plain Python, from the paper's formula"
    )
    oracle = getattr(oracles, name)
    expected = [
        [
            oracle(student[b, t].tolist(), teacher[b, t].tolist(), int(labels[b, t]), **given)
            for t in range(4)
        ]
        for b in range(3)
    ]
    value = values(term, student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value.double(), torch.tensor(expected, dtype=torch.double), atol=1e-6, rtol=2e-6
    )


def test_gradient_is_the_numerical_one(name, term):
    exempt(name, "gradcheck")
    student, teacher = sides(rows=1, time=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda logits: values(term, logits, teacher), (student.requires_grad_(),)
    )


def test_a_gradient_step_reduces_it(term):
    student, teacher = sides()
    before, slope = gradient(term, student, teacher)
    assert slope.abs().max() > 1e-4
    after = values(term, student - 1e-2 * slope, teacher)
    assert after.sum() < before.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("which", ["student", "teacher", "both"])
def test_probability_zero_gives_finite_values_and_gradients(term, which, dtype):
    student, teacher = sides(dtype=dtype)
    if which in ("student", "both"):
        student[..., 2] = -torch.inf
    if which in ("teacher", "both"):
        teacher[..., 2:4] = -torch.inf
    value, slope = gradient(term, student, teacher)
    assert value.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_ten_thousand_give_finite_values_and_gradients(term, dtype):
    student, teacher = sides(dtype=dtype)
    student[..., 0], student[..., 1] = 1e4, -1e4
    teacher[..., 0], teacher[..., 1] = -1e4, 1e4
    value, slope = gradient(term, student, teacher)
    assert value.isfinite().all()
    assert slope.isfinite().all()


def test_what_is_masked_changes_nothing_even_nan(name, term):
    exempt(name, "batch")
    student, teacher = sides()
    labels = labels_like(student)
    labels[0, 2:] = IGNORE_INDEX
    expected = summed(term, student, teacher, labels)
    counted = values(term, student, teacher)[labels != IGNORE_INDEX].sum()
    torch.testing.assert_close(expected, counted)
    student[0, 2:], teacher[0, 3:] = torch.nan, torch.nan
    torch.testing.assert_close(summed(term, student, teacher, labels), expected)


def test_padding_changes_nothing(name, term):
    exempt(name, "batch")
    student, teacher = sides()
    labels = labels_like(student)
    wider = [torch.nn.functional.pad(side, (0, 0, 0, 2), value=9.0) for side in (student, teacher)]
    padded = torch.nn.functional.pad(labels, (0, 2), value=IGNORE_INDEX)
    torch.testing.assert_close(summed(term, *wider, padded), summed(term, student, teacher, labels))


def test_the_sum_does_not_depend_on_how_a_batch_is_split(name, term):
    """Traps 1 and 2: means over other things than target tokens (trl#4105, trl#6006)."""
    exempt(name, "batch")
    student, teacher = sides()
    labels = labels_like(student)
    labels[0, 1:] = IGNORE_INDEX
    whole = summed(term, student, teacher, labels)
    parts = [
        summed(term, student[rows], teacher[rows], labels[rows])
        for rows in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_doubling_the_vocabulary_with_impossible_tokens_changes_nothing(name, term):
    """Trap 1: a mean over the vocabulary (easydistill#34) would be halved."""
    exempt(name, "batch")
    student, teacher = sides()
    wider = [
        torch.nn.functional.pad(side, (0, VOCAB), value=-torch.inf) for side in (student, teacher)
    ]
    labels = labels_like(student)
    torch.testing.assert_close(values(term, *wider, labels), values(term, student, teacher, labels))
