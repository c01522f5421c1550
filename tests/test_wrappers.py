"""What is wrapped around a divergence: schedules, standardised logits, weights of tokens."""

import math
from functools import partial

import pytest
import torch
from loss_cases import batch_of, configured, labels_like, output, sides, summed, values

from nlg_distill.data.batch import Author
from nlg_distill.distributions import LOWEST
from nlg_distill.errors import UserError
from nlg_distill.losses import (
    CosineSchedule,
    DivergenceTerm,
    ExponentialSchedule,
    LinearSchedule,
    Objective,
    StudentLossWeights,
    TeacherEntropyWeights,
    forward_kl,
    nll,
    sampled_kl,
    standardize_logits,
)
from nlg_distill.losses.sampled_kl import Samples
from nlg_distill.teachers.signal import SampledDistribution, SparseDistribution, TeacherSignal

STUDENT, TEACHER = sides()


@pytest.mark.parametrize("schedule", [LinearSchedule, CosineSchedule])
def test_schedules_go_from_start_to_end_and_stay_there(schedule):
    falling = schedule(start=4.0, end=1.0)
    assert [falling(0.0), falling(0.5), falling(1.0)] == pytest.approx([4.0, 2.5, 1.0])
    early = schedule(start=0.0, end=2.0, until=0.5)
    assert [early(0.25), early(0.5), early(0.9)] == pytest.approx([1.0, 2.0, 2.0])


def test_schedules_differ_between_their_ends():
    assert LinearSchedule(start=1.0, end=0.0)(0.25) == pytest.approx(0.75)
    growing = ExponentialSchedule(start=0.0, end=1.0, base=200.0)
    assert [growing(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0, 1 - 200**-0.5, 0.995])
    with pytest.raises(UserError, match=r"base must be above 1, got 1\.0"):
        ExponentialSchedule(start=0.0, end=1.0, base=1.0)
    assert CosineSchedule(start=1.0, end=0.0)(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize("schedule", [LinearSchedule, CosineSchedule])
def test_schedules_refuse_what_does_nothing(schedule):
    with pytest.raises(UserError, match="a schedule that does nothing"):
        schedule(start=1.0, end=1.0)
    with pytest.raises(UserError, match="start and end must be at least 0"):
        schedule(start=1.0, end=-1.0)
    with pytest.raises(UserError, match=r"until must be in \(0, 1\], got 0"):
        schedule(start=1.0, end=0.0, until=0.0)


def test_anneal_changes_the_weight_with_progress():
    term = DivergenceTerm(loss=forward_kl, weight=3.0, anneal=LinearSchedule(start=1.0, end=0.0))
    objective = Objective({"forward_kl": term})
    labels = labels_like(STUDENT)
    plain = summed(term, STUDENT, TEACHER, labels)
    for progress, factor in ((0.0, 3.0), (0.5, 1.5)):
        objective.begin_step(progress)
        found = objective(output(STUDENT), TeacherSignal(output(TEACHER)), batch_of(labels))
        torch.testing.assert_close(found["forward_kl"], factor * plain)


def test_a_temperature_schedule_reaches_the_loss():
    term = configured("forward_kl", temperature=None)
    term.temperature = LinearSchedule(start=4.0, end=1.0)
    for progress, temperature in ((0.0, 4.0), (0.5, 2.5)):
        term.begin_step(progress)
        expected = forward_kl(STUDENT, TEACHER, temperature=temperature)
        torch.testing.assert_close(values(term, STUDENT, TEACHER), expected)


@pytest.mark.parametrize("ends", [(2.0, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("name", ["forward_kl", "sampled_kl"])
def test_a_schedule_that_ends_at_no_temperature_is_refused_before_a_start(name, ends):
    term = configured(name)
    term.rehearse()
    term.temperature = LinearSchedule(start=ends[0], end=ends[1])
    with pytest.raises(UserError, match=r"temperature must be positive, got 0\.0"):
        term.rehearse()


def test_a_temperature_beside_a_schedule_is_refused():
    softened = partial(forward_kl, temperature=2.0)
    falling = LinearSchedule(start=4.0, end=1.0)
    DivergenceTerm(loss=partial(forward_kl, temperature=1.0), temperature=falling)
    with pytest.raises(UserError, match=r"loss\.temperature=2\.0 has no effect beside a schedule"):
        DivergenceTerm(loss=softened, temperature=falling)

    def warm(student_logits, teacher_logits, *, temperature=2.0):
        return forward_kl(student_logits, teacher_logits, temperature=temperature)

    with pytest.raises(UserError, match=r"loss\.temperature=2\.0 has no effect beside a schedule"):
        DivergenceTerm(loss=warm, temperature=falling)


def test_standardised_logits_do_not_depend_on_scale_and_shift():
    term = DivergenceTerm(loss=forward_kl, transform=standardize_logits)
    expected = forward_kl(standardize_logits(STUDENT), standardize_logits(TEACHER))
    torch.testing.assert_close(values(term, STUDENT, TEACHER), expected)
    torch.testing.assert_close(values(term, 5 * STUDENT + 3, TEACHER / 2), expected)
    z = standardize_logits(STUDENT)
    torch.testing.assert_close(z.mean(-1), torch.zeros(3, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(-1, correction=0), torch.ones(3, 4))


@pytest.mark.parametrize("impossible", [-math.inf, LOWEST])
def test_standardised_logits_leave_impossible_tokens_out(impossible):
    wider = torch.cat([STUDENT, torch.full((3, 4, 5), impossible)], dim=-1)
    leaf = wider.requires_grad_()
    z = standardize_logits(leaf)
    torch.testing.assert_close(z[..., :7], standardize_logits(STUDENT))
    forward_kl(z, z.detach().flip(0)).sum().backward()
    assert leaf.grad.isfinite().all()


def test_entropy_weights_are_the_teacher_s_own_entropy():
    flat, sharp = torch.zeros(1, 1, 7), torch.tensor([[[1e4, 0, 0, 0, 0, 0, 0.0]]])
    teacher = torch.cat([flat, sharp], dim=1)
    student = STUDENT[:1, :2]
    batch = batch_of(labels_like(student))
    weights = TeacherEntropyWeights()(
        output(student), TeacherSignal(output(teacher)), batch, batch.target_mask
    )
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0]]))
    term = DivergenceTerm(
        loss=forward_kl, token_weights=TeacherEntropyWeights(), transform=standardize_logits
    )
    entropy = torch.distributions.Categorical(logits=TEACHER).entropy() / math.log(7)
    plain = values(DivergenceTerm(loss=forward_kl, transform=standardize_logits), STUDENT, TEACHER)
    torch.testing.assert_close(values(term, STUDENT, TEACHER), plain * entropy)


def test_loss_weights_keep_the_tokens_that_the_student_finds_hardest():
    labels = labels_like(STUDENT)
    labels[2] = -100
    term = DivergenceTerm(loss=forward_kl, token_weights=StudentLossWeights(share=0.5))
    kept = values(term, STUDENT, TEACHER, labels)[:2]
    losses = nll(STUDENT, labels)[:2]
    assert torch.equal(kept > 0, losses > losses.median())
    assert (kept > 0).sum() == 4
    with pytest.raises(UserError, match=r"share must be in \(0, 1\), got 1\.0"):
        StudentLossWeights(share=1.0)


def test_loss_weights_rank_within_what_the_term_counts():
    """The student's texts are easy to it; among gold texts alone half of the tokens stay."""
    easy = 9.0 * torch.nn.functional.one_hot(labels_like(STUDENT), 7)
    student = STUDENT + easy * torch.tensor([0.0, 1.0, 1.0])[:, None, None]
    batch = batch_of(labels_like(STUDENT))
    batch.authors[1:] = Author.STUDENT
    weights, signal = StudentLossWeights(share=0.5), TeacherSignal(output(TEACHER))
    for who, count in (("gold", 2), ("student", 4), ("teacher", 0)):
        term = DivergenceTerm(loss=forward_kl, token_weights=weights, written_by=who)
        mask = term.mask(batch)
        values = term.per_token(output(student), signal, batch)
        assert (values[mask] > 0).sum() == count
        assert term(output(student), signal, batch).isfinite()


@pytest.mark.parametrize("weights", [TeacherEntropyWeights(), StudentLossWeights(share=0.5)])
def test_token_weights_carry_no_gradient_and_work_on_k_tokens(weights):
    batch = batch_of(labels_like(STUDENT))
    signal = TeacherSignal(sparse=SparseDistribution.of(TEACHER, 3))
    term = DivergenceTerm(loss=forward_kl, token_weights=weights)
    plain = DivergenceTerm(loss=forward_kl)
    leaf = STUDENT.clone().requires_grad_()
    found = weights(output(leaf), signal, batch, batch.target_mask)
    assert not found.requires_grad
    assert (found >= 0).all()
    assert (found <= 1).all()
    expected = found * plain.per_token(output(leaf), signal, batch)
    torch.testing.assert_close(term.per_token(output(leaf), signal, batch), expected)


def stored_draws(count):
    draws = Samples.of(TEACHER, count)
    return TeacherSignal(samples=SampledDistribution(draws.token_ids, draws.log_probs)), draws


def test_stored_draws_are_weighted_by_what_the_student_finds_hard():
    signal, draws = stored_draws(4)
    batch = batch_of(labels_like(STUDENT))
    weights = StudentLossWeights(share=0.5)
    term = configured("sampled_kl", num_samples=4)
    term.token_weights = weights
    kept = weights(output(STUDENT), signal, batch, batch.target_mask)
    expected = sampled_kl(STUDENT, draws) * kept
    torch.testing.assert_close(term.per_token(output(STUDENT), signal, batch), expected)
    term.token_weights = TeacherEntropyWeights()
    with pytest.raises(UserError, match=r"the teacher's whole distribution.*set teacher=live"):
        term.per_token(output(STUDENT), signal, batch)


def test_stored_draws_of_another_number_or_temperature_are_refused():
    signal, _ = stored_draws(4)
    batch = batch_of(labels_like(STUDENT))
    with pytest.raises(UserError, match="num_samples=5, but the teacher stored 4 draws"):
        configured("sampled_kl", num_samples=5).per_token(output(STUDENT), signal, batch)
    soft = configured("sampled_kl", num_samples=4, loss={"temperature": 2.0})
    with pytest.raises(UserError, match="known at temperature 1 only"):
        soft.per_token(output(STUDENT), signal, batch)


def test_stored_tokens_refuse_a_temperature_and_a_transform():
    signal = TeacherSignal(sparse=SparseDistribution.of(TEACHER, 3))
    batch = batch_of(labels_like(STUDENT))
    terms = [
        DivergenceTerm(loss=forward_kl, transform=standardize_logits),
        DivergenceTerm(loss=forward_kl, temperature=LinearSchedule(start=2.0, end=1.0)),
        configured("forward_kl", loss={"temperature": 2.0}),
    ]
    for term in terms:
        with pytest.raises(UserError, match="known at temperature 1 only"):
            term.per_token(output(STUDENT), signal, batch)
