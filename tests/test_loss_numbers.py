"""Numbers by hand: a teacher of (1/2, 1/4, 1/4) and a student of (1/4, 1/4, 1/2)."""

import math
from functools import partial

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.distributions import Categorical, kl_divergence

from nlg_distill.errors import UserError
from nlg_distill.losses import (
    adaptive_kl,
    alpha_beta,
    decoupled_kl,
    forward_kl,
    jensen_shannon,
    nll,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    sorted_wasserstein,
    standardize_logits,
    symmetric_kl,
    taid,
    total_variation,
)
from nlg_distill.losses.adaptive_kl import head_mask

P, Q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
LN2 = math.log(2)
BY_HAND = {
    "forward_kl": (forward_kl, 0.5 * LN2 - 0.25 * LN2),
    "reverse_kl": (reverse_kl, -0.25 * LN2 + 0.5 * LN2),
    "jensen_shannon at 1/2": (
        # m = (3/8, 1/4, 3/8); both halves are equal by symmetry
        jensen_shannon,
        0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3),
    ),
    "jensen_shannon at 1/4": (
        # m = p/4 + 3q/4 = (5/16, 1/4, 7/16)
        partial(jensen_shannon, beta=0.25),
        0.25 * (0.5 * math.log(8 / 5) + 0.25 * math.log(4 / 7))
        + 0.75 * (0.25 * math.log(4 / 5) + 0.5 * math.log(8 / 7)),
    ),
    "skew_forward_kl at 1/2": (
        partial(skew_forward_kl, alpha=0.5),
        0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3),
    ),
    "skew_forward_kl at 1/4": (
        # p/4 + 3q/4 = (5/16, 1/4, 7/16)
        partial(skew_forward_kl, alpha=0.25),
        0.5 * math.log(8 / 5) + 0.25 * math.log(4 / 7),
    ),
    "skew_reverse_kl at 1/4": (
        # 3p/4 + q/4 = (7/16, 1/4, 5/16)
        partial(skew_reverse_kl, alpha=0.25),
        0.25 * math.log(4 / 7) + 0.5 * math.log(8 / 5),
    ),
    "total_variation": (total_variation, 0.25),
    "symmetric_kl": (symmetric_kl, 0.25 * LN2),
    "sorted_wasserstein of a permutation": (sorted_wasserstein, 0.0),
    "alpha_beta at 1/2, 1/2": (
        partial(alpha_beta, alpha=0.5, beta=0.5),
        4 - 4 * (2 * math.sqrt(0.125) + 0.25),
    ),
    "alpha_beta at 1, 1": (partial(alpha_beta, alpha=1.0, beta=1.0), 0.5 * 2 * 0.25**2),
    "alpha_beta at 2, 1": (
        # -1/2 sum(p^2 q - 2/3 p^3 - 1/3 q^3)
        partial(alpha_beta, alpha=2.0, beta=1.0),
        -0.5 * (7 / 64 - (2 / 3 + 1 / 3) * 10 / 64),
    ),
    "taid at 1/2": (
        # sqrt(pq) normalised is (r, 1/2, r) / (2r + 1/2) with r = sqrt(1/2)
        partial(taid, t=0.5),
        (lambda a: a * math.log(4 * a) + a * math.log(2 * a) + (1 - 2 * a) * math.log(4 - 8 * a))(
            math.sqrt(0.125) / (2 * math.sqrt(0.125) + 0.25)
        ),
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_by_hand(case):
    loss, expected = BY_HAND[case]
    assert loss(Q.log(), P.log()).item() == pytest.approx(expected, abs=1e-6)


def test_adaptive_kl_by_hand():
    teacher = torch.tensor([0.2, 0.5, 0.3])
    student = torch.tensor([0.5, 0.2, 0.3])
    # the head is the second token alone; |p - q| is 0.3 in the head, 0.3 in the tail
    forward = 0.2 * math.log(0.4) + 0.5 * math.log(2.5)
    value = adaptive_kl(student.log(), teacher.log(), mu=0.5)
    assert value.item() == pytest.approx(forward, abs=1e-6)  # equal to the reverse one here
    # with 0.8 in the head it has the second and third tokens: weights stay 1/2
    student = torch.tensor([0.1, 0.3, 0.6])
    gap_head, gap_tail = 0.2 + 0.3, 0.1
    forward = 0.2 * math.log(2) + 0.5 * math.log(5 / 3) + 0.3 * math.log(0.5)
    reverse = 0.1 * math.log(0.5) + 0.3 * math.log(0.6) + 0.6 * math.log(2)
    expected = (gap_head * forward + gap_tail * reverse) / 0.6
    value = adaptive_kl(student.log(), teacher.log(), mu=0.8 - 1e-3)
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_the_head_of_adaptive_kl_is_in_the_vocabulary_s_order():
    """A published implementation applies the mask of sorted values to unsorted ones."""
    teacher = torch.tensor([[0.1, 0.15, 0.4, 0.35], [0.4, 0.1, 0.35, 0.15]])
    expected = torch.tensor([[False, False, True, True], [True, False, True, False]])
    assert torch.equal(head_mask(teacher, 0.5), expected)


@pytest.mark.parametrize("mu", [0.111, 0.5, 0.999])
def test_the_head_is_complete_however_many_tokens_it_has(mu):
    teacher = (torch.randn(6, 300, dtype=torch.float64) * torch.arange(6)[:, None]).softmax(dim=-1)
    for found, probabilities in zip(head_mask(teacher, mu), teacher, strict=True):
        inside, outside = probabilities[found], probabilities[~found]
        assert inside.sum() >= mu
        assert inside.sum() - inside.min() < mu
        assert (outside <= inside.min()).all()


def test_no_gradient_flows_through_the_weights_of_adaptive_kl():
    student = torch.tensor([0.5, 0.1, 0.4]).log().requires_grad_()
    teacher = torch.tensor([0.1, 0.2, 0.7]).log()
    adaptive_kl(student, teacher).backward()
    weight = 0.3 / 0.8  # of the head, the third token; the tail differs both ways, so it can move
    parts = weight * forward_kl(student, teacher) + (1 - weight) * reverse_kl(student, teacher)
    torch.testing.assert_close(student.grad, torch.autograd.grad(parts, student)[0])


def test_decoupled_kl_by_hand():
    label = torch.tensor(0)
    # b: (1/2, 1/2) against (1/4, 3/4); others: (1/2, 1/2) against (1/3, 2/3)
    target = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    others = 0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4)
    value = decoupled_kl(Q.log(), P.log(), label, alpha=0.3, beta=2.0)
    assert value.item() == pytest.approx(0.3 * target + 2.0 * others, abs=1e-6)
    assert decoupled_kl(Q.log(), P.log(), label, alpha=1.0, beta=0.5).item() == pytest.approx(
        forward_kl(Q.log(), P.log()).item(), abs=1e-6
    )


def test_sorted_wasserstein_pads_the_smaller_vocabulary():
    teacher = torch.tensor([0.25, 0.75])
    # sorted: (3/4, 1/4, 0) against (1/2, 1/4, 1/4)
    value = sorted_wasserstein(Q.log(), teacher.log())
    assert value.item() == pytest.approx(0.5, abs=1e-6)
    assert sorted_wasserstein(teacher.log(), Q.log()).item() == pytest.approx(0.5, abs=1e-6)


def test_standardised_logits_by_hand():
    logits = torch.tensor([1.0, 3.0, -math.inf, 5.0])
    expected = torch.tensor([-1.0, 0.0, 1.0]) * math.sqrt(1.5)
    value = standardize_logits(logits)
    torch.testing.assert_close(value[[0, 1, 3]], expected)
    assert value.softmax(-1)[2] == 0
    flat = torch.zeros(4, requires_grad=True)
    standardize_logits(flat).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_agrees_with_torch_distributions_and_scipy(temperature):
    student, teacher = torch.randn(2, 2, 3, 5).double()
    p, q = Categorical(logits=teacher / temperature), Categorical(logits=student / temperature)
    square = temperature**2
    value = forward_kl(student, teacher, temperature=temperature)
    torch.testing.assert_close(value, square * kl_divergence(p, q))
    value = reverse_kl(student, teacher, temperature=temperature, scale_by_temperature=False)
    torch.testing.assert_close(value, kl_divergence(q, p))
    distance = torch.tensor(jensenshannon(p.probs, q.probs, axis=-1))
    value = jensen_shannon(student, teacher, temperature=temperature)
    torch.testing.assert_close(value, square * distance**2)


def test_nll_by_hand():
    logits, labels = torch.tensor([[0.2, 0.3, 0.5]]).log(), torch.tensor([1])
    smoothed = nll(logits, labels, label_smoothing=0.3).item()
    uniform = -sum(math.log(p) for p in (0.2, 0.3, 0.5)) / 3
    assert nll(logits, labels).item() == pytest.approx(-math.log(0.3))
    assert smoothed == pytest.approx(0.7 * -math.log(0.3) + 0.3 * uniform)


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (forward_kl, dict(temperature=0.0), r"temperature must be positive, got 0\.0"),
        (jensen_shannon, dict(beta=0.0), "beta=0.0 makes the divergence zero everywhere"),
        (jensen_shannon, dict(beta=1.0), "or use reverse_kl"),
        (jensen_shannon, dict(beta=1.5, normalize=True), r"beta must be in \[0, 1\], got 1\.5"),
        (skew_forward_kl, dict(alpha=1.0), r"alpha must be in \[0, 1\), got 1\.0"),
        (skew_reverse_kl, dict(alpha=-0.1), r"alpha must be in \[0, 1\), got -0\.1"),
        (skew_reverse_kl, dict(alpha=0.0, detach_mixture=True), "no effect with alpha=0"),
        (symmetric_kl, dict(alpha=1.0), r"alpha must be in \(0, 1\), got 1\.0"),
        (adaptive_kl, dict(mu=0.0), r"mu must be in \(0, 1\), got 0\.0"),
        (alpha_beta, dict(alpha=1e-5, beta=0.5), "alpha must be 0 or at least"),
        (alpha_beta, dict(alpha=0.5, beta=-0.5 + 1e-5), r"alpha \+ beta must be 0 or at least"),
        (
            partial(decoupled_kl, labels=torch.tensor(0)),
            dict(alpha=-1.0, beta=1.0),
            "at least 0 and not",
        ),
        (nll, dict(label_smoothing=1.0), r"label_smoothing must be in \[0, 1\)"),
    ],
)
def test_refuses_what_is_out_of_range(loss, settings, message):
    second = torch.tensor(0) if loss is nll else P.log()
    with pytest.raises(UserError, match=message):
        loss(Q.log(), second, **settings)
