"""Our losses beside those of other systems, and by what factor and why they differ.

What is not installed is skipped. How to install it, and the table of what was measured, are in
docs/conformance.md.
"""

import os

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from nlg_distill.data.batch import IGNORE_INDEX
from nlg_distill.losses import forward_kl, jensen_shannon, reverse_kl, standardize_logits
from nlg_distill.losses.reduce import sum_over_targets

pytestmark = [
    pytest.mark.conformance,
    # what a peer warns about when it is imported is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]
BATCH, TIME, VOCAB = 2, 5, 11
TAU = 2.0


@pytest.fixture
def logits():
    return torch.randn(BATCH, TIME, VOCAB), torch.randn(BATCH, TIME, VOCAB)


@pytest.fixture
def labels():
    labels = torch.randint(0, VOCAB, (BATCH, TIME))
    labels[0, 3:] = IGNORE_INDEX
    return labels


def divergence(beta, student, teacher, temperature=1.0):
    """Ours at this beta, without tau^2: KL at the ends, as TRL and Liger have it."""
    settings = dict(temperature=temperature, scale_by_temperature=False)
    if beta in (0.0, 1.0):
        return (reverse_kl if beta else forward_kl)(student, teacher, **settings)
    return jensen_shannon(student, teacher, beta=beta, **settings)


def test_torch_kl_div_has_the_student_first_and_three_denominators(logits):
    """`batchmean` divides by sequences, `mean` by tokens and vocabulary; ours by nothing."""
    student, teacher = logits
    ours = forward_kl(student, teacher)
    log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
    each = kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(each, ours)
    found = kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    torch.testing.assert_close(found, ours.sum() / BATCH)
    found = kl_div(log_q, log_p, reduction="mean", log_target=True)
    torch.testing.assert_close(found, ours.sum() / (BATCH * TIME * VOCAB))


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_trl_weighs_the_teacher_by_beta_and_has_no_tau_squared(logits, labels, beta):
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    pytest.importorskip("trl")
    from trl.experimental.gkd import GKDTrainer

    student, teacher = logits
    theirs = GKDTrainer.generalized_jsd_loss
    settings = dict(beta=beta, temperature=TAU)
    ours = divergence(beta, student, teacher, TAU)
    counted = sum_over_targets(ours, labels != IGNORE_INDEX)
    tokens = (labels != IGNORE_INDEX).sum()
    # with labels, `batchmean` is the mean over target tokens of the micro-batch
    found = theirs(student, teacher, labels=labels, **settings)
    torch.testing.assert_close(found, counted / tokens)
    # without labels, `batchmean` is the sum over a sequence: TIME times as much
    found = theirs(student, teacher, **settings)
    torch.testing.assert_close(found, ours.sum() / BATCH)
    # `mean` divides by the vocabulary too
    found = theirs(student, teacher, reduction="mean", **settings)
    torch.testing.assert_close(found, ours.mean() / VOCAB)
    # ours with its default factor is tau^2 as large
    if beta == 0.5:
        scaled = jensen_shannon(student, teacher, temperature=TAU)
        torch.testing.assert_close(scaled, TAU**2 * ours)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_trl_chunked_divergence_is_the_mean_over_tokens(labels, beta):
    pytest.importorskip("trl")
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    hidden = torch.randn(2, BATCH, TIME, 6)
    heads = torch.randn(2, VOCAB, 6)
    mask = labels != IGNORE_INDEX
    found, _, tokens = _chunked_divergence_loss(
        hidden[0], hidden[1], heads[0], heads[1], mask.long(), beta, temperature=TAU
    )
    ours = divergence(beta, hidden[0] @ heads[0].T, hidden[1] @ heads[1].T, TAU)
    torch.testing.assert_close(found, sum_over_targets(ours, mask) / tokens)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_liger_weighs_the_teacher_by_beta(logits, labels, beta):
    pytest.importorskip("liger_kernel")
    from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDFunction

    student, teacher = (side.flatten(0, 1) for side in logits)
    theirs = LigerFusedLinearJSDFunction.distillation_loss_fn
    found = theirs(student, teacher, beta=beta, target=labels.flatten())
    ours = divergence(beta, student, teacher)
    torch.testing.assert_close(found, sum_over_targets(ours, labels.flatten() != IGNORE_INDEX))


def test_liger_s_whole_loss_is_the_mean_over_tokens_without_tau_squared(labels):
    pytest.importorskip("liger_kernel")
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    hidden = torch.randn(2, BATCH * TIME, 6)
    heads = torch.randn(2, VOCAB, 6)
    theirs = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.3, temperature=TAU, compiled=False
    )
    found = theirs(hidden[0], heads[0], hidden[1], heads[1], labels.flatten())
    ours = divergence(0.3, hidden[0] @ heads[0].T, hidden[1] @ heads[1].T, TAU)
    mask = labels.flatten() != IGNORE_INDEX
    torch.testing.assert_close(found, sum_over_targets(ours, mask) / mask.sum())


def torchdistill(name, **settings):
    pytest.importorskip("torchdistill")
    from torchdistill.losses import mid_level

    where = ("student", "output", "teacher", "output")
    loss = getattr(mid_level, name)(*where, temperature=TAU, **settings)
    return lambda student, teacher, labels=None: loss(
        {"student": {"output": student}}, {"teacher": {"output": teacher}}, labels
    )


def test_torchdistill_has_tau_squared_in_one_branch_only(logits):
    student, teacher = (side.flatten(0, 1) for side in logits)
    labels = torch.randint(0, VOCAB, (BATCH * TIME,))
    ours = forward_kl(student, teacher, temperature=TAU).mean()
    hard = cross_entropy(student, labels)
    found = torchdistill("KDLoss", alpha=0.3)(student, teacher, labels)
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * ours)
    # with alpha=0, or without labels, the same setting gives 1 / tau^2 of it
    found = torchdistill("KDLoss", alpha=0.0)(student, teacher, labels)
    torch.testing.assert_close(found, ours / TAU**2)
    found = torchdistill("KDLoss", alpha=0.3)(student, teacher)
    torch.testing.assert_close(found, ours / TAU**2)


def test_torchdistill_standardises_by_the_sample_s_deviation(logits):
    """The paper has the population's: theirs is ours at a temperature sqrt(V / (V - 1)) higher."""
    student, teacher = (side.flatten(0, 1) for side in logits)
    found = torchdistill("LogitStdKDLoss", alpha=0.0)(student, teacher)
    factor = (VOCAB / (VOCAB - 1)) ** 0.5
    sides = (standardize_logits(student), standardize_logits(teacher))
    same = forward_kl(*sides, temperature=TAU * factor, scale_by_temperature=False).mean()
    torch.testing.assert_close(found, same)
    ours = forward_kl(*sides, temperature=TAU, scale_by_temperature=False).mean()
    assert not torch.allclose(found, ours, rtol=1e-2)
