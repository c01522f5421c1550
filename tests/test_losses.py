"""Properties every divergence must have, then each loss's own numbers."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.distributions import Categorical, kl_divergence

from nlg_distill.data.batch import IGNORE_INDEX
from nlg_distill.errors import UserError
from nlg_distill.losses import DivergenceTerm, LabelTerm, Objective, forward_kl, nll
from nlg_distill.losses.reduce import sum_over_targets

CONF = Path(__file__).parents[1] / "conf" / "loss"
CONFIGS = {path.stem: OmegaConf.load(path)[path.stem] for path in sorted(CONF.glob("*.yaml"))}
DIVERGENCES = [name for name, term in CONFIGS.items() if term._target_.endswith("DivergenceTerm")]
assert DIVERGENCES, f"no divergence configs under {CONF}"


@pytest.fixture(params=DIVERGENCES)
def divergence(request):
    """Each divergence that has a config, with that config's settings."""
    return instantiate(CONFIGS[request.param].loss)


@pytest.fixture
def logits():
    return torch.randn(2, 3, 5), torch.randn(2, 3, 5)


def test_is_zero_with_zero_gradient_when_student_equals_teacher(divergence, logits):
    student = logits[0].requires_grad_()
    value = divergence(student, student.detach())
    torch.testing.assert_close(value, torch.zeros(2, 3), atol=1e-6, rtol=0)
    value.sum().backward()
    torch.testing.assert_close(student.grad, torch.zeros(2, 3, 5), atol=1e-6, rtol=0)


def test_is_non_negative_and_per_token(divergence, logits):
    value = divergence(*logits)
    assert value.shape == (2, 3)
    assert (value > 0).all()


def test_does_not_change_when_logits_are_shifted(divergence, logits):
    student, teacher = logits
    torch.testing.assert_close(divergence(student + 7.0, teacher - 3.0), divergence(*logits))


def test_gradient_step_moves_student_towards_teacher(divergence, logits):
    student, teacher = logits
    student.requires_grad_()
    before = divergence(student, teacher).sum()
    before.backward()
    assert divergence(student - 1e-2 * student.grad, teacher).sum() < before


def test_gradient_is_the_numerical_one(divergence):
    student = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    teacher = torch.randn(2, 4, dtype=torch.double)
    step = 1e-3
    divergence(student, teacher).sum().backward()
    for index in [(0, 1), (1, 3)]:
        up, down = student.detach().clone(), student.detach().clone()
        up[index] += step
        down[index] -= step
        slope = (divergence(up, teacher) - divergence(down, teacher)).sum() / (2 * step)
        assert student.grad[index].item() == pytest.approx(slope.item(), abs=1e-3)


def test_extreme_logits_give_finite_gradients(divergence):
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    divergence(student, torch.tensor([[-1e4, 1e4, 0.0]])).sum().backward()
    assert student.grad.isfinite().all()


def test_bfloat16_logits_are_compared_in_float32(divergence, logits):
    student, teacher = (tensor.bfloat16() for tensor in logits)
    value = divergence(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, divergence(student.float(), teacher.float()))


def test_forward_kl_by_hand():
    teacher = torch.tensor([0.5, 0.5]).log()
    student = torch.tensor([0.25, 0.75]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert forward_kl(student, teacher).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_forward_kl_agrees_with_torch_distributions(logits, temperature):
    student, teacher = logits
    reference = kl_divergence(
        Categorical(logits=teacher / temperature), Categorical(logits=student / temperature)
    )
    value = forward_kl(student, teacher, temperature=temperature)
    torch.testing.assert_close(value, temperature**2 * reference)


def test_forward_kl_counts_zero_probability_as_zero():
    teacher = torch.tensor([0.0, 0.0, -math.inf])
    student = torch.tensor([0.0, 0.0, 0.0], requires_grad=True)
    value = forward_kl(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(math.log(1.5))
    assert student.grad.isfinite().all()


def test_forward_kl_rejects_temperature_zero(logits):
    with pytest.raises(UserError, match=r"temperature must be positive, got 0\.0"):
        forward_kl(*logits, temperature=0.0)


def test_nll_by_hand():
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log()
    labels = torch.tensor([1])
    smoothed = nll(logits, labels, label_smoothing=0.3).item()
    uniform = -sum(math.log(p) for p in (0.2, 0.3, 0.5)) / 3
    assert nll(logits, labels).item() == pytest.approx(-math.log(0.3))
    assert smoothed == pytest.approx(0.7 * -math.log(0.3) + 0.3 * uniform)


def test_nll_rejects_label_smoothing_one(logits):
    with pytest.raises(UserError, match=r"label_smoothing must be in \[0, 1\)"):
        nll(logits[0], torch.zeros(2, 3, dtype=torch.long), label_smoothing=1.0)


def test_nll_rejects_negative_label_smoothing(logits):
    with pytest.raises(UserError, match=r"label_smoothing must be in \[0, 1\)"):
        nll(logits[0], torch.zeros(2, 3, dtype=torch.long), label_smoothing=-0.1)


def test_nll_of_bfloat16_logits_is_computed_in_float32(logits):
    student, labels = logits[0].bfloat16(), torch.zeros(2, 3, dtype=torch.long)
    torch.testing.assert_close(nll(student, labels), nll(student.float(), labels))


def test_sum_ignores_what_is_masked_even_nan():
    values = torch.tensor([[1.0, math.nan], [2.0, math.inf]])
    mask = torch.tensor([[True, False], [True, False]])
    assert sum_over_targets(values, mask).item() == 3.0


def test_objective_refuses_no_terms_and_weights_without_effect():
    with pytest.raises(UserError, match="no term"):
        Objective({})
    with pytest.raises(UserError, match=r"loss\.nll\.weight must be positive, got 0"):
        Objective({"nll": LabelTerm(loss=nll, weight=0.0)})


def test_only_divergences_need_a_teacher():
    label, divergence = LabelTerm(loss=nll), DivergenceTerm(loss=forward_kl)
    assert not Objective({"nll": label}).needs_teacher
    assert Objective({"nll": label, "forward_kl": divergence}).needs_teacher
    assert IGNORE_INDEX < 0
