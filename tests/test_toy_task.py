"""Divergences on tasks whose best student is known."""

import math

import pytest
import torch
from loss_cases import DIVERGENCES, batch_of, configured, labels_like, output

from nlg_distill.teachers.signal import TeacherSignal

VOCAB = 5
OUTCOMES = torch.arange(41.0)


@pytest.fixture
def bigrams():
    """A teacher that is a fixed bigram distribution: one row for each last word."""
    return (2 * torch.randn(1, VOCAB, VOCAB)).log_softmax(-1)


def learn(term, student, teacher, steps):
    """Gives the student's logits after gradient descent on its parameters."""
    parameters, logits = student
    signal, batch = TeacherSignal(log_probs=teacher), batch_of(labels_like(teacher))
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        term.begin_step(step / steps)
        optimizer.zero_grad()
        value = term(output(logits()), signal, batch)
        value.backward()
        optimizer.step()
        schedule.step()
        term.end_step(value.item() / VOCAB, torch.clone)
    return value.item()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_drives_the_student_to_the_teacher(name, bigrams):
    student = torch.zeros_like(bigrams).add_(0.1 * bigrams).requires_grad_()
    learn(configured(name), ([student], lambda: student), bigrams, steps=250)
    ours, theirs = student.softmax(-1), bigrams.exp()
    apart = (ours - theirs).abs().sum(-1).max().item() / 2
    assert apart < 0.04, f"total variation {apart:.3f}"


def bell(mean, spread):
    """Log-probabilities of a discrete bell curve."""
    return (-0.5 * ((OUTCOMES - mean) / spread) ** 2).log_softmax(-1)


def fit(name):
    """Mean and spread of one bell curve that has learned from a teacher with two of them."""
    teacher = torch.logaddexp(bell(10, 2.0) + math.log(0.6), bell(30, 2.0) + math.log(0.4))
    found = []
    for start in [(10.0, 3.0), (20.0, 10.0), (30.0, 3.0)]:
        mean, spread = (torch.tensor(number, requires_grad=True) for number in start)
        student = ([mean, spread], lambda mean=mean, spread=spread: bell(mean, spread)[None, None])
        value = learn(configured(name), student, teacher[None, None], steps=150)
        found.append((value, mean.item(), spread.item()))
    return min(found)[1:]


def test_too_small_a_student_covers_with_forward_kl_and_seeks_with_reverse_kl():
    mean, spread = fit("forward_kl")
    covered = bell(mean, spread).exp()
    assert (covered @ OUTCOMES).item() == pytest.approx(18.0, abs=0.1)  # the teacher's own mean
    assert covered[10] > 0.02
    assert covered[30] > 0.01
    mean, spread = fit("reverse_kl")
    assert mean == pytest.approx(10.0, abs=0.5)  # its larger mode
    assert spread == pytest.approx(2.0, rel=0.1)
    assert bell(mean, spread)[30] < -20
