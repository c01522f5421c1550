"""Ends, limits and special cases: where one divergence must become another."""

import math
from functools import partial

import pytest
import torch
from loss_cases import (
    DIVERGENCES,
    SPANS,
    VOCAB,
    batch_of,
    configured,
    labels_like,
    output,
    sides,
    values,
)

from nlg_distill.errors import UserError
from nlg_distill.losses import (
    DivergenceTerm,
    TopKTerm,
    VocabularyTerm,
    adaptive_kl,
    alpha_beta,
    decoupled_kl,
    forward_kl,
    jensen_shannon,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    sorted_wasserstein,
    symmetric_kl,
    taid,
    total_variation,
)
from nlg_distill.losses.sampled_kl import Samples
from nlg_distill.teachers.signal import SparseDistribution, TeacherSignal

STUDENT, TEACHER = sides(dtype=torch.float64)
MERGED = [n for n in DIVERGENCES if type(configured(n)) is DivergenceTerm]
assert {"forward_kl", "reverse_kl", "jensen_shannon", "total_variation"} <= {*MERGED}


def test_temperature_squares_the_factor():
    """Torchdistill drops tau^2 in one branch; here it is one default-on argument everywhere."""
    decoupled = partial(decoupled_kl, labels=labels_like(STUDENT), alpha=1.0, beta=8.0)
    for loss in (forward_kl, reverse_kl, jensen_shannon, skew_forward_kl, skew_reverse_kl,
                 symmetric_kl, total_variation, partial(alpha_beta, alpha=0.5, beta=0.5),
                 partial(taid, t=0.3), sorted_wasserstein, partial(adaptive_kl, mu=0.5),
                 decoupled):  # fmt: skip
        softened = loss(STUDENT / 3, TEACHER / 3)
        torch.testing.assert_close(loss(STUDENT, TEACHER, temperature=3.0), 9 * softened)
        plain = loss(STUDENT, TEACHER, temperature=3.0, scale_by_temperature=False)
        torch.testing.assert_close(plain, softened)


def test_beta_weighs_the_teacher_and_no_end_is_zero():
    """Trap 4: swapped beta, ends that are zero (trl#3043, verl-recipe#151)."""
    forward, reverse = forward_kl(STUDENT, TEACHER), reverse_kl(STUDENT, TEACHER)
    for beta, end in ((0.0, forward), (1.0, reverse)):
        value = jensen_shannon(STUDENT, TEACHER, beta=beta, normalize=True)
        torch.testing.assert_close(value, end)
        smallest = partial(jensen_shannon, beta=abs(beta - 1e-3), normalize=True)
        near = smallest(STUDENT, TEACHER)
        torch.testing.assert_close(near, end, rtol=0.2, atol=1e-3)
        rounded = smallest(STUDENT.float(), TEACHER.float()).double()
        torch.testing.assert_close(rounded, near, rtol=1e-3, atol=1e-4)
        with pytest.raises(UserError, match=f"set it to {beta:.0f}, or keep 0.001 away"):
            jensen_shannon(STUDENT, TEACHER, beta=abs(beta - 1e-6), normalize=True)
    assert not torch.allclose(forward, reverse, rtol=0.1)
    mirrored = jensen_shannon(TEACHER, STUDENT, beta=0.9)
    torch.testing.assert_close(jensen_shannon(STUDENT, TEACHER, beta=0.1), mirrored)
    with pytest.raises(UserError, match="zero everywhere"):
        jensen_shannon(STUDENT, TEACHER, beta=1.0)


def test_probabilities_are_mixed_not_their_logs():
    """Trap 3: a mixture of log-probabilities (trl#2202)."""
    p, q = TEACHER.softmax(-1), STUDENT.softmax(-1)
    m = 0.3 * p + 0.7 * q
    expected = (0.3 * p * (p / m).log() + 0.7 * q * (q / m).log()).sum(-1)
    torch.testing.assert_close(jensen_shannon(STUDENT, TEACHER, beta=0.3), expected)
    logs = 0.3 * p.log() + 0.7 * q.log()
    wrong = (0.3 * p * (p.log() - logs) + 0.7 * q * (q.log() - logs)).sum(-1)
    assert not torch.allclose(expected, wrong, rtol=0.05)


def test_jensen_shannon_is_bounded_by_the_entropy_of_its_weights():
    far = torch.tensor([50.0, -50.0]), torch.tensor([-50.0, 50.0])
    for beta in (0.1, 0.5, 0.9):
        bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert jensen_shannon(*far, beta=beta).item() == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize(
    ("skew", "plain"), [(skew_forward_kl, forward_kl), (skew_reverse_kl, reverse_kl)]
)
def test_skew_divergences_end_at_kl_and_are_bounded(skew, plain):
    torch.testing.assert_close(skew(STUDENT, TEACHER, alpha=0.0), plain(STUDENT, TEACHER))
    near = skew(STUDENT, TEACHER, alpha=1e-6)
    torch.testing.assert_close(near, plain(STUDENT, TEACHER), rtol=1e-3, atol=1e-6)
    far = torch.tensor([50.0, -50.0]), torch.tensor([-50.0, 50.0])
    assert skew(*far, alpha=0.1).item() == pytest.approx(-math.log(0.1), abs=1e-6)


def test_detaching_the_mixture_changes_the_gradient_alone():
    student = STUDENT.clone().requires_grad_()
    whole = skew_reverse_kl(student, TEACHER, alpha=0.3)
    part = skew_reverse_kl(student, TEACHER, alpha=0.3, detach_mixture=True)
    torch.testing.assert_close(part, whole)
    q, m = student.softmax(-1), 0.7 * TEACHER.softmax(-1) + 0.3 * STUDENT.softmax(-1)
    by_hand = (q * (q.log() - m.log())).sum()
    expected = torch.autograd.grad(by_hand, student)[0]
    found = torch.autograd.grad(part.sum(), student)[0]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(torch.autograd.grad(whole.sum(), student)[0], expected, rtol=0.05)
    same = TEACHER.clone().requires_grad_()
    skew_reverse_kl(same, TEACHER, detach_mixture=True).sum().backward()
    assert same.grad.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [(1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.0, 0.5), (0.7, -0.7), (-0.7, 0.7), (0.0, 0.0)],
)
def test_alpha_beta_is_continuous_at_its_limits(alpha, beta):
    value = alpha_beta(STUDENT, TEACHER, alpha=alpha, beta=beta)
    near = alpha_beta(STUDENT, TEACHER, alpha=alpha + 1e-3, beta=beta + 1e-3)
    torch.testing.assert_close(near, value, rtol=2e-2, atol=1e-5)
    assert (value > 0).all()
    same = alpha_beta(TEACHER, TEACHER, alpha=alpha, beta=beta)
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_alpha_beta_has_its_special_cases():
    ends = {(1.0, 0.0): forward_kl, (0.0, 1.0): reverse_kl}
    for (alpha, beta), loss in ends.items():
        value = alpha_beta(STUDENT, TEACHER, alpha=alpha, beta=beta)
        torch.testing.assert_close(value, loss(STUDENT, TEACHER))
    roots = TEACHER.softmax(-1).sqrt() - STUDENT.softmax(-1).sqrt()
    hellinger = alpha_beta(STUDENT, TEACHER, alpha=0.5, beta=0.5)
    torch.testing.assert_close(hellinger, 2 * roots.square().sum(-1))


def test_taid_has_no_teacher_beyond_the_teacher():
    with pytest.raises(UserError, match=r"t must be in \[0, 1\], got 2"):
        taid(STUDENT, TEACHER, t=2.0)


def test_taid_ends_at_the_student_and_at_forward_kl():
    torch.testing.assert_close(taid(STUDENT, TEACHER, t=1.0), forward_kl(STUDENT, TEACHER))
    nothing = taid(STUDENT, TEACHER, t=0.0)
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))
    impossible = TEACHER.clone()
    impossible[..., 0] = -math.inf
    value = taid(STUDENT, impossible, t=1.0)
    torch.testing.assert_close(value, forward_kl(STUDENT, impossible))


def sparse_values(term, k, student=STUDENT, teacher=TEACHER):
    signal = TeacherSignal(sparse=SparseDistribution.of(teacher, k))
    return term.per_token(output(student), signal, batch_of(labels_like(student)))


@pytest.mark.parametrize("name", MERGED)
def test_k_stored_tokens_bound_a_divergence_and_all_of_them_are_it(name):
    term, dense = configured(name), values(configured(name), STUDENT, TEACHER)
    torch.testing.assert_close(sparse_values(term, VOCAB), dense)
    previous = torch.zeros_like(dense)
    for k in range(1, VOCAB):
        value = sparse_values(term, k)
        assert (value >= previous - 1e-12).all()
        assert (value <= dense + 1e-12).all()
        previous = value
    assert sparse_values(term, 2).sum() < dense.sum() - 0.1


def test_top_k_kl_keeps_k_of_a_dense_teacher_and_of_a_sparse_one():
    term = TopKTerm(k=3, loss=forward_kl)
    expected = sparse_values(DivergenceTerm(loss=forward_kl), 3)
    torch.testing.assert_close(values(term, STUDENT, TEACHER), expected)
    torch.testing.assert_close(sparse_values(term, 5), expected)
    with pytest.raises(UserError, match="k=3 tokens are asked for, but the teacher stored 2"):
        sparse_values(term, 2)
    everything = TopKTerm(k=VOCAB, loss=forward_kl)
    torch.testing.assert_close(values(everything, STUDENT, TEACHER), forward_kl(STUDENT, TEACHER))
    with pytest.raises(UserError, match="k must be at least 1, got 0"):
        TopKTerm(k=0, loss=forward_kl)
    with pytest.raises(UserError, match=r"at temperature 1, got loss\.temperature=2\.0: leave"):
        TopKTerm(k=3, loss=partial(forward_kl, temperature=2.0))


def test_a_vocabulary_smaller_than_k_leaves_nothing_over_in_float32():
    logits = torch.randn(2000, 501)
    stored = SparseDistribution.of(logits, 600)
    assert stored.largest(600) is stored
    assert (stored.tail_log_mass.exp() == 0).all()


def test_the_k_largest_of_a_whole_vocabulary_are_k():
    whole = SparseDistribution.of(TEACHER, VOCAB)
    found, expected = whole.largest(3), SparseDistribution.of(TEACHER, 3)
    assert torch.equal(found.token_ids, expected.token_ids)
    torch.testing.assert_close(found.tail_log_mass, expected.tail_log_mass)


@pytest.mark.parametrize("loss", [reverse_kl, symmetric_kl])
def test_a_teacher_that_is_sure_leaves_a_tail_that_a_divergence_can_bear(loss):
    """Its k tokens sum to 1 in float32, but to a student that is elsewhere that is no infinity."""
    sure = torch.zeros(3, 4, VOCAB)
    sure[..., 0] = 30.0
    stored = SparseDistribution.of(sure, 3)
    student = STUDENT.float().requires_grad_()
    term = DivergenceTerm(loss=loss)
    batch = batch_of(labels_like(student))
    value = term.per_token(output(student), TeacherSignal(sparse=stored), batch)
    assert (value > 0).all()
    assert (value < 40).all()
    value.sum().backward()
    assert student.grad.abs().max() < 40
    with pytest.raises(UserError, match="k=5 tokens are asked for, but the teacher stored 3"):
        stored.largest(5)


def test_the_tail_keeps_reverse_kl_from_emptying_the_top_k():
    """Without the bucket of all others it falls to zero when the student leaves (verl#5041)."""
    fled = STUDENT.clone()
    fled[..., 3:] += 30.0
    teacher = TEACHER.clone()
    teacher[..., :3] += 10.0
    term = DivergenceTerm(loss=reverse_kl)
    assert (sparse_values(term, 3, fled, teacher) > 3).all()


def test_a_divergence_of_single_tokens_refuses_k_of_them():
    refused = [n for n in DIVERGENCES if isinstance(configured(n), VocabularyTerm)]
    assert {"adaptive_kl", "taid", "sorted_wasserstein", "sampled_kl"} <= {*refused}
    for name in refused:
        with pytest.raises(UserError, match=f"{name} looks at single tokens"):
            sparse_values(configured(name), 3)


def test_a_teacher_of_another_vocabulary_is_refused_unless_the_loss_is_made_for_it():
    """Trap 9: used in silence (trl#4562), or a cryptic broadcast error (trl#2215)."""
    for size in (1, VOCAB - 1, VOCAB + 1):
        teacher = torch.randn(3, 4, size, dtype=torch.float64)
        for name in [*DIVERGENCES, *SPANS]:
            if name == "sorted_wasserstein":
                assert values(configured(name), STUDENT, teacher).isfinite().all()
            else:
                with pytest.raises(UserError, match=f"has 7 tokens and the teacher's {size}:"):
                    values(configured(name), STUDENT, teacher)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampled_kl_is_unbiased_in_value_and_gradient(temperature):
    """Within four standard errors of the dense divergence; top-k is not."""
    repeats = 4000
    student, teacher = (side[0, :1].repeat(repeats, 1)[None].clone() for side in (STUDENT, TEACHER))
    student.requires_grad_()
    term = configured("sampled_kl", num_samples=3, loss={"temperature": temperature})
    value = values(term, student, teacher)
    value.sum().backward()
    dense = STUDENT[0, :1].clone().requires_grad_()
    expected = forward_kl(dense, TEACHER[0, :1], temperature=temperature)
    expected.sum().backward()
    for found, truth in ((value[0, :, None], expected), (student.grad[0], dense.grad)):
        error = found.detach().std(dim=0) / repeats**0.5
        assert ((found.mean(dim=0) - truth).abs() <= 4 * error).all()
        assert (error < 0.05 * truth.abs().max()).all()


def test_importance_weights_undo_another_proposal():
    """The hook for stored samples: weights p / (proposal * n) make them unbiased too."""
    student, teacher = STUDENT[0, 0], TEACHER[0, 0]
    every = torch.arange(VOCAB)
    p = teacher.softmax(-1)
    samples = Samples(every, p.log(), p / (1 / VOCAB * VOCAB))  # each token once, from a uniform
    term = configured("sampled_kl")
    torch.testing.assert_close(term.loss(student, samples), forward_kl(student, teacher))


def test_draws_follow_the_global_seed():
    torch.manual_seed(1)
    first = Samples.of(TEACHER, 5).token_ids
    again = Samples.of(TEACHER, 5).token_ids
    torch.manual_seed(1)
    assert torch.equal(Samples.of(TEACHER, 5).token_ids, first)
    assert not torch.equal(again, first)
