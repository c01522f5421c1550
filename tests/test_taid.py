"""TAID's t: where it starts, how it rises, and that it outlives the process."""

import itertools
import math

import pytest
import torch
from loss_cases import configured, sides, values

from nlg_distill.config import check, compose
from nlg_distill.errors import UserError
from nlg_distill.losses import Objective, TAIDTerm, taid


def by_the_paper(losses, start=0.4, momentum=0.99, step=5e-4):
    """The paper's update in plain numbers: t after each step."""
    t, trend, previous, found = start, 0.0, None, []
    for number, loss in enumerate(losses):
        t = max(t, start + (1 - start) * number / len(losses))
        if previous is not None:
            trend = momentum * trend + (1 - momentum) * (previous - loss) / previous
            t = min(1.0, t + step / (1 + math.exp(-trend)) * (1 - t))
        previous = loss
        found.append(t)
    return found


def run(term, losses, of=None):
    found = []
    for number, loss in enumerate(losses):
        term.begin_step(number / (of or len(losses)))
        term.end_step(loss, torch.clone)
        found.append(term.t.item())
    return found


def test_t_follows_the_paper():
    losses = [3.0, 2.5, 2.6, 2.0, 1.0, 1.1]
    assert run(configured("taid"), losses) == pytest.approx(by_the_paper(losses), abs=1e-6)
    # a large step size, so that the adaptive part is what moves it
    changes = dict(step_size=0.5, momentum=0.5)
    expected = by_the_paper(losses, momentum=0.5, step=0.5)
    assert run(configured("taid", **changes), losses) == pytest.approx(expected, abs=1e-6)


def test_t_rises_at_least_linearly_and_never_falls():
    term = configured("taid")
    found = run(term, [5.0 + number % 3 for number in range(40)])
    assert found[0] == pytest.approx(0.4)
    assert all(later >= earlier for earlier, later in itertools.pairwise(found))
    line = [0.4 + 0.6 * number / 40 for number in range(40)]
    assert all(t >= least - 1e-6 for t, least in zip(found, line, strict=True))
    term.begin_step(1.0)
    assert term.t.item() == pytest.approx(1.0)


def test_t_rises_faster_while_the_loss_falls():
    settings = dict(momentum=0.5, step_size=0.1)
    falling = configured("taid", **settings)
    rising = configured("taid", **settings)
    run(falling, [8.0, 4.0, 2.0, 1.0], of=10**6)
    run(rising, [1.0, 2.0, 4.0, 8.0], of=10**6)
    assert falling.t > rising.t > 0.4


def test_a_step_without_a_loss_is_passed_over():
    settings = dict(momentum=0.5, step_size=0.5, start=0.0)
    plain, gaps = configured("taid", **settings), configured("taid", **settings)
    run(plain, [3.0, 2.0, 1.0], of=10**6)
    run(gaps, [0.0, 3.0, -1e-9, 2.0, 0.0, 1.0], of=10**6)
    for name in ("t", "trend", "previous"):
        torch.testing.assert_close(getattr(gaps, name), getattr(plain, name), atol=1e-5, rtol=0)
    assert gaps.t > 0.1


def test_the_term_uses_its_t():
    term = configured("taid")
    student, teacher = sides()
    torch.testing.assert_close(values(term, student, teacher), taid(student, teacher, t=0.4))
    term.begin_step(0.5)
    torch.testing.assert_close(values(term, student, teacher), taid(student, teacher, t=0.7))


def test_t_is_in_the_checkpoint_and_goes_on_from_there():
    losses = [3.0, 2.0, 1.5, 1.4, 1.0, 0.8]
    whole = Objective({"taid": configured("taid")})
    expected = run(whole.terms["taid"], losses)
    first, second = (Objective({"taid": configured("taid")}) for _ in range(2))
    run(first.terms["taid"], losses[:3], of=6)
    second.load_state_dict(first.state_dict())
    term = second.terms["taid"]
    for number in (3, 4, 5):
        term.begin_step(number / 6)
        term.end_step(losses[number], torch.clone)
    assert term.t.item() == expected[-1]
    assert {"terms.taid.t", "terms.taid.trend", "terms.taid.previous"} == {*first.state_dict()}


def test_the_objective_tells_it_its_value():
    objective = Objective({"nll": configured("nll"), "taid": configured("taid")})
    assert objective.adapts
    objective.begin_step(0.25)
    objective.end_step({"nll": 3.0, "taid": 2.0}, torch.clone)
    assert objective.terms["taid"].t.item() == pytest.approx(0.55)
    assert objective.terms["taid"].previous.item() == 2.0


def test_no_gradient_flows_through_the_intermediate_teacher():
    student, teacher = sides(dtype=torch.float64)
    leaf = student.clone().requires_grad_()
    taid(leaf, teacher, t=0.4).sum().backward()
    between = (0.6 * student + 0.4 * teacher).softmax(-1)
    torch.testing.assert_close(leaf.grad, student.softmax(-1) - between)


@pytest.mark.parametrize("wrapper", ["linear_anneal", "temperature_schedule"])
def test_what_changes_of_its_own_is_not_its_argument(wrapper):
    cfg = compose(["loss=[nll,taid]", f"+wrapper@loss.taid={wrapper}"])
    with pytest.raises(UserError, match=r"is not an argument of nlg_distill\.losses\.TAIDTerm"):
        check(cfg)


@pytest.mark.parametrize("setting", ["start", "momentum", "step_size"])
def test_refuses_what_is_out_of_range(setting):
    with pytest.raises(UserError, match=rf"{setting} must be in \[0, 1\), got 1\.0"):
        TAIDTerm(loss=taid, **{setting: 1.0})
