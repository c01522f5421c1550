"""DistiLLM-2's alpha: its own for every text, by how far the two sides are apart on it."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from loss_cases import batch_of, labels_like, output, sides

from nlg_distill.data.batch import IGNORE_INDEX, Author
from nlg_distill.errors import UserError
from nlg_distill.losses import (
    AdaptiveSkewTerm,
    Objective,
    forward_kl,
    skew_forward_kl,
    skew_reverse_kl,
    symmetric_kl,
)
from nlg_distill.teachers.signal import TeacherSignal

STUDENT, TEACHER = sides()
LABELS = labels_like(STUDENT)
LABELS[0, -1] = IGNORE_INDEX


def term(loss=skew_forward_kl, alpha=0.1, **settings):
    return AdaptiveSkewTerm(loss=partial(loss, alpha=alpha), **settings)


def per_token(term, authors=Author.GOLD):
    batch = batch_of(LABELS)
    batch = replace(batch, authors=torch.full_like(batch.authors, authors))
    return term.per_token(output(STUDENT), TeacherSignal(output(TEACHER)), batch)


def gaps_by_hand():
    """p^ - q^ of every text, token by token."""
    found = []
    for student, teacher, labels in zip(STUDENT, TEACHER, LABELS, strict=True):
        means = []
        for logits in (teacher, student):
            counted = [t for t, label in enumerate(labels) if label != IGNORE_INDEX]
            given = [logits[t].double().softmax(-1)[labels[t]].item() for t in counted]
            product = torch.tensor(given, dtype=torch.float64).prod()
            means.append(product ** (1 / len(counted)))
        found.append((means[0] - means[1]).item())
    return found


def test_every_text_has_its_own_alpha():
    gaps = gaps_by_hand()
    mean = 1.5 * min(gap for gap in gaps if gap > 0)
    adaptive = term(alpha=0.5)
    adaptive.mean_gap.fill_(mean)
    expected = [min(0.5, max(0.01, 1 - 0.5 * mean / gap)) for gap in gaps]
    assert len({round(alpha, 4) for alpha in expected}) > 1, expected
    found = per_token(adaptive)
    for row, alpha in enumerate(expected):
        alone = skew_forward_kl(STUDENT[row], TEACHER[row], alpha=alpha)
        torch.testing.assert_close(found[row], alone, atol=1e-5, rtol=1e-4)


def test_before_the_first_step_alpha_is_the_losses_own():
    for loss in (skew_forward_kl, skew_reverse_kl):
        plain = loss(STUDENT, TEACHER, alpha=0.3)
        torch.testing.assert_close(per_token(term(loss, alpha=0.3)), plain)


def test_the_mean_gap_is_that_of_the_texts_and_turns_where_the_student_wrote_them():
    mean = sum(gaps_by_hand()) / len(LABELS)
    for authors, sign in ((Author.TEACHER, 1), (Author.STUDENT, -1)):
        adaptive = term(momentum=0.75)
        per_token(adaptive, authors)
        adaptive.end_step(1.0, torch.clone)
        assert adaptive.mean_gap.item() == pytest.approx(sign * mean, abs=1e-6)
        per_token(adaptive, Author.STUDENT)
        adaptive.end_step(1.0, torch.clone)
        assert adaptive.mean_gap.item() == pytest.approx((0.75 * sign - 0.25) * mean, abs=1e-6)


def test_the_mean_gap_is_that_of_the_texts_of_all_ranks():
    adaptive, others = term(), torch.tensor([0.9, 3.0])  # the sum of three gaps
    per_token(adaptive)
    adaptive.end_step(1.0, lambda here: here + others)
    mean = (sum(gaps_by_hand()) + 0.9) / (len(LABELS) + 3)
    assert adaptive.mean_gap.item() == pytest.approx(mean, abs=1e-6)


def test_texts_that_the_term_does_not_count_do_not_move_the_mean():
    adaptive = term(written_by="teacher")
    per_token(adaptive, Author.STUDENT)
    adaptive.end_step(0.0, torch.clone)
    assert adaptive.mean_gap.isnan()


def test_an_evaluation_does_not_move_the_mean():
    adaptive = term().eval()
    per_token(adaptive)
    adaptive.end_step(0.0, torch.clone)
    assert adaptive.mean_gap.isnan()


def test_no_gradient_flows_through_alpha():
    gaps = torch.tensor(gaps_by_hand())
    adaptive = term(alpha=0.5)
    adaptive.mean_gap.fill_(1.5 * gaps[gaps > 0].min())
    alpha = (1 - 0.5 * adaptive.mean_gap / gaps).clamp(0.01, 0.5)
    ours, fixed = (STUDENT.clone().requires_grad_() for _ in range(2))
    batch = batch_of(LABELS)
    adaptive.per_token(output(ours), TeacherSignal(output(TEACHER)), batch).sum().backward()
    skew_forward_kl(fixed, TEACHER, alpha=alpha[:, None]).sum().backward()
    torch.testing.assert_close(ours.grad, fixed.grad, atol=1e-5, rtol=1e-4)


def test_the_mean_gap_outlives_the_process():
    first, second = Objective({"skew": term()}), Objective({"skew": term()})
    first.terms["skew"].mean_gap.fill_(0.25)
    assert {*first.state_dict()} == {"terms.skew.mean_gap"}
    second.load_state_dict(first.state_dict())
    assert second.terms["skew"].mean_gap == 0.25


def test_settings_without_meaning_are_refused():
    with pytest.raises(UserError, match=r"momentum must be in \[0, 1\), got 1\.0"):
        term(momentum=1.0)
    with pytest.raises(UserError, match=r"alpha must be in \(0.01, 1\) where it adapts, got 0\.0"):
        term(alpha=0.0)
    for loss in (forward_kl, partial(symmetric_kl, alpha=0.5)):
        with pytest.raises(UserError, match="_kl has no alpha that could adapt"):
            AdaptiveSkewTerm(loss=loss)
