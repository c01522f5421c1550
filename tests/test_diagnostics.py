"""What a step tells; trap 10: a term that changes nothing (atropos#456) is told."""

import math
import warnings

import pytest
import torch
from loss_cases import batch_of, output

from nlg_distill.data.batch import IGNORE_INDEX
from nlg_distill.modules import diagnostics
from nlg_distill.modules.diagnostics import NO_OP_STEPS, NoOpWatch, gradient_shares
from nlg_distill.teachers.signal import SparseDistribution, TeacherSignal

LABELS = torch.tensor([[3, 0], [1, IGNORE_INDEX]])


def told_at_three_positions(kind):
    """Both sides' logits over 64 tokens at three labels, and at one that is padding."""
    student, teacher = torch.zeros(2, 2, 64), torch.zeros(2, 2, 64)
    student[0, 0, 3] = teacher[0, 0, 3] = math.log(63)  # half for one token, half for the others
    student[0, 1, 5] = math.log(63)
    teacher[0, 1, 0] = math.log(63)
    student[1, 1] = teacher[1, 1] = torch.randn(64)
    if kind is SparseDistribution:
        signal = TeacherSignal(sparse=SparseDistribution.of(teacher, 2))
    else:
        signal = TeacherSignal(output=output(teacher))
    return diagnostics.distributions(output(student), signal, batch_of(LABELS))


HALF = 0.5 * math.log(2) + 0.5 * math.log(2 * 63)  # the entropy of half for one, half for 63


@pytest.mark.parametrize("at_once", [1, 2, diagnostics.AT_ONCE])
def test_what_a_step_tells_are_means_over_target_positions(at_once, monkeypatch):
    monkeypatch.setattr(diagnostics, "AT_ONCE", at_once)
    found = {name: value.item() for name, value in told_at_three_positions(None).items()}
    masses = 0.5 + 31 / 126, 0.5 + 31 / 126, 0.5  # of 32 tokens
    assert found == pytest.approx(
        {
            "student_entropy": (2 * HALF + math.log(64)) / 3,
            "student_probability": (0.5 + 1 / 126 + 1 / 64) / 3,
            "teacher_entropy": (2 * HALF + math.log(64)) / 3,
            "top_k_mass": sum(masses) / 3,
            "top_1_agreement": 2 / 3,  # at the first, and where all are alike
        },
        rel=1e-5,
    )


def test_of_a_cache_a_step_tells_what_is_stored():
    found = told_at_three_positions(SparseDistribution)
    assert "teacher_entropy" not in found
    masses = 0.5 + 1 / 126, 0.5 + 1 / 126, 2 / 64
    assert found["top_k_mass"].item() == pytest.approx(sum(masses) / 3, rel=1e-5)
    stored = [(0.5, 1 / 126, 62 / 126)] * 2 + [(1 / 64, 1 / 64, 62 / 64)]
    entropies = [-sum(p * math.log(p) for p in row) for row in stored]
    assert found["teacher_entropy_of_top_k"].item() == pytest.approx(sum(entropies) / 3, rel=1e-5)


def test_without_a_teacher_a_step_tells_of_the_student_alone():
    found = diagnostics.distributions(
        output(torch.zeros(2, 2, 64)), TeacherSignal(), batch_of(LABELS)
    )
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"student_entropy": math.log(64), "student_probability": 1 / 64}
    )


def test_shares_of_the_gradient_follow_the_gradients_norms():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    terms = {"large": 3 * weight.sum(), "small": weight.sum(), "none": weight.sum() * 0}
    shares = gradient_shares(terms, [weight])
    assert [shares[name].item() for name in terms] == pytest.approx([0.75, 0.25, 0.0])


def test_a_term_without_effect_is_told_once_and_only_if_it_lasts():
    watch = NoOpWatch()
    quiet, loud = torch.tensor(0.001), torch.tensor(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see(0, {"forward_kl": quiet})
        watch.see(NO_OP_STEPS - 1, {"forward_kl": quiet})
        watch.see(NO_OP_STEPS, {"forward_kl": loud})  # recovers: the count begins anew
        watch.see(2 * NO_OP_STEPS - 1, {"forward_kl": quiet})
    with pytest.warns(UserWarning, match=r"the term forward_kl has had less than 1%"):
        watch.see(3 * NO_OP_STEPS - 1, {"forward_kl": quiet})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see(4 * NO_OP_STEPS, {"forward_kl": quiet})
