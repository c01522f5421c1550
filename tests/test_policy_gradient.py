"""MiniLLM's term against the exact gradient of the reverse KL of whole texts."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import SPECIAL
from torch import nn

from nlg_distill.config import compose
from nlg_distill.data.batch import IGNORE_INDEX, Author, Batch, Example, collate, with_targets
from nlg_distill.errors import UserError
from nlg_distill.losses import PolicyGradientTerm, policy_gradient
from nlg_distill.losses.policy_gradient import rewards_to_go
from nlg_distill.models import ModelOutput
from nlg_distill.rehearsal import rehearse
from nlg_distill.teachers.signal import TeacherSignal

VOCAB, LENGTH = 3, 3
TEXTS = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))


def tables():
    """A distribution over the next token for every prefix."""
    return [torch.randn(VOCAB**length, VOCAB) for length in range(LENGTH)]


def logits(model):
    """[texts, time, vocab]: what a table says along every text."""
    prefixes = torch.zeros(len(TEXTS), dtype=torch.long)
    rows = []
    for time, table in enumerate(model):
        rows.append(table[prefixes])
        prefixes = prefixes * VOCAB + TEXTS[:, time]
    return torch.stack(rows, dim=1)


def log_prob(model):
    return logits(model).log_softmax(-1).gather(-1, TEXTS[..., None])[..., 0].sum(-1)


def batch(labels=TEXTS):
    ids = torch.zeros(len(labels), 1, dtype=torch.long)
    authors = torch.full((len(labels),), Author.STUDENT)
    return Batch(ids, ids == 0, labels, labels, ids[:, 0], authors)


def term_of(alpha, *, single_step=True, length_normalize=True, clip=0.2):
    settings = {"single_step": single_step, "length_normalize": length_normalize, "clip": clip}
    return PolicyGradientTerm(loss=partial(policy_gradient, **settings), alpha=alpha)


def surrogate(term, student, teacher, labels=TEXTS):
    output = ModelOutput(logits(student), nn.Identity())
    values = term.per_token(output, TeacherSignal(log_probs=logits(teacher)), batch(labels))
    return values.masked_fill(labels == IGNORE_INDEX, 0.0).sum(-1)


@pytest.mark.parametrize("single_step", [True, False])
def test_the_gradient_is_that_of_the_reverse_kl_of_texts(single_step):
    student, teacher = [t.requires_grad_() for t in tables()], tables()
    q = log_prob(student)
    exact = torch.autograd.grad((q.exp() * (q - log_prob(teacher))).sum(), student)
    term = term_of(alpha=0.0, single_step=single_step, length_normalize=False)
    values = surrogate(term, student, teacher)
    expected = torch.autograd.grad((q.detach().exp() * values).sum(), student)
    torch.testing.assert_close(expected, exact, atol=1e-6, rtol=1e-4)


def test_importance_weights_undo_the_mixed_drawing():
    """Of the first token, where the one-step weight is exact."""
    student, teacher = [t.requires_grad_() for t in tables()], tables()
    q, p = (logits(model)[:, 0].log_softmax(-1) for model in (student, teacher))
    exact = torch.autograd.grad((q[0].exp() * (q[0] - p[0])).sum(), student[0])
    term = term_of(alpha=0.4, clip=100.0)
    first = torch.where(torch.arange(LENGTH) == 0, TEXTS, IGNORE_INDEX)
    drawn = 0.4 * p.exp() + 0.6 * q.detach().exp()
    weight = drawn.gather(-1, TEXTS[:, :1])[:, 0] / VOCAB ** (LENGTH - 1)
    values = surrogate(term, student, teacher, first)
    found = torch.autograd.grad((weight * values).sum(), student[0])
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-4)


def test_importance_weights_are_clipped():
    student, teacher = tables(), tables()
    teacher[0] = teacher[0] - 1000.0 * torch.eye(VOCAB)[:1]  # the teacher never begins with 0
    loose, tight = (
        surrogate(term_of(alpha=0.5, clip=clip), student, teacher)[0] for clip in (100.0, 0.0)
    )
    assert loose / tight == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_a_token_that_is_improbable_to_both_has_a_weight(alpha):
    """exp of both is 0 in float32, and their quotient was NaN."""
    student, teacher = tables(), tables()
    for model, low in ((student, 150.0), (teacher, 140.0)):
        model[0] = model[0] - low * torch.eye(VOCAB)[:1]  # neither begins with 0
    leaves = [table.requires_grad_() for table in student]
    values = surrogate(term_of(alpha=alpha), leaves, teacher)
    assert values.isfinite().all()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(values.sum(), leaves))
    q, p = (logits(m)[0, 0].log_softmax(-1)[0].double().detach() for m in (student, teacher))
    weight = 1 / (1 - alpha + alpha * (p - q).exp())
    first = torch.where(torch.arange(LENGTH) == 0, TEXTS, IGNORE_INDEX)
    found = surrogate(term_of(alpha=alpha, single_step=False), student, teacher, first)
    torch.testing.assert_close(found[0].double(), -weight * (p - q) * q, rtol=1e-4, atol=0)


def test_rewards_to_go_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    to_go = partial(rewards_to_go, rewards, mask)
    assert to_go(length_normalize=False)[0, :3].tolist() == [5.0, 3.0, 0.0]
    assert to_go(length_normalize=True)[0, :3].tolist() == [2.5, 3.0, 0.0]


def test_gold_texts_do_not_count():
    term, student, teacher = term_of(alpha=0.2), tables(), tables()
    mixed = batch()
    mixed.authors[: len(TEXTS) // 2] = Author.GOLD
    mask = term.mask(mixed)
    assert mask[: len(TEXTS) // 2].sum() == 0
    assert mask[len(TEXTS) // 2 :].all()
    output = ModelOutput(logits(student), nn.Identity())
    values = term(output, TeacherSignal(log_probs=logits(teacher)), mixed)
    torch.testing.assert_close(values, surrogate(term, student, teacher)[len(TEXTS) // 2 :].sum())


def test_a_token_that_was_forced_is_not_in_the_objective():
    """Only what the student chose has a probability that it could learn from."""
    special = replace(SPECIAL, first=3)
    sources = collate([Example(0, [4], []), Example(1, [5], [])], special)
    texts = [[3, 4, 5], [3, 6, 4]]
    drawn = with_targets(sources, texts, special, Author.STUDENT, ended=[True, False])
    student = torch.randn(2, 4, 7, requires_grad=True)
    signal = TeacherSignal(log_probs=torch.randn(2, 4, 7))
    for single_step in (True, False):
        value = term_of(0.2, single_step=single_step)(
            ModelOutput(student, nn.Identity()), signal, drawn
        )
        (slope,) = torch.autograd.grad(value, student)
        assert (slope[:, 0] == 0).all()
        assert (slope[0, 1:] != 0).any(-1).all()
    free = with_targets(sources, texts, SPECIAL, Author.STUDENT, ended=[True, True])
    assert free.labels.tolist() == [[3, 4, 5, 2], [3, 6, 4, 2]]
    assert drawn.labels.tolist() == [[IGNORE_INDEX, 4, 5, 2], [IGNORE_INDEX, 6, 4, IGNORE_INDEX]]
    assert collate([Example(0, [4], [3, 4])], special).labels.tolist() == [[3, 4, 2]]
    nothing = with_targets(sources, [[], [3]], special, Author.STUDENT, ended=[False, True])
    assert nothing.labels.tolist() == [[IGNORE_INDEX] * 2, [IGNORE_INDEX, 2]]


STUDENT_ALONE = ["targets=student_samples", "loss=[policy_gradient]", "init=experiment"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=minillm", "loss.policy_gradient.alpha=0.3"], r"alpha=0\.3, but .* is 0\.2"),
        (STUDENT_ALONE, "set targets=teacher_mixed"),
        ([*STUDENT_ALONE, "loss.policy_gradient.alpha=0.2"], r"alpha=0\.2, but .* is 0\.0"),
        (
            [*STUDENT_ALONE, "loss.policy_gradient.alpha=0.0", "+targets.sampling.top_k=5"],
            "at temperature 1 and without top_k",
        ),
        (
            ["targets=speculative", "loss=[policy_gradient]", "loss.policy_gradient.alpha=0.0"],
            "learns from texts drawn from the models' own distributions",
        ),
    ],
)
def test_texts_drawn_otherwise_than_the_weights_say_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        rehearse(compose(overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=minillm"],
        ["experiment=minillm", "targets.alpha=0.0"],
        [*STUDENT_ALONE, "loss.policy_gradient.alpha=0.0"],
    ],
)
def test_texts_drawn_as_the_weights_say_are_taken(overrides):
    rehearse(compose(overrides))


@pytest.mark.parametrize("settings", [{"alpha": 1.0}, {"alpha": 0.2, "clip": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="must"):
        term_of(**settings).rehearse()
