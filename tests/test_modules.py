"""The Lightning modules: updates do not depend on how a batch is split; the teacher stays put."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from conftest import SPECIAL, terms_of, toy_examples, toy_model
from torch.utils.data import DataLoader

from nlg_distill.data.batch import IGNORE_INDEX, Author, Batch, collate, joined
from nlg_distill.errors import UserError
from nlg_distill.losses import DivergenceTerm, LabelTerm, Objective, forward_kl, nll
from nlg_distill.modules import DistillModule, StudentModule, TeacherModule, warmup_cosine
from nlg_distill.modules.diagnostics import NO_OP_STEPS, NoOpWatch
from nlg_distill.targets import AdaptiveReplay, Gold, Mixture, Sampling, StudentSamples
from nlg_distill.teachers.live import LiveTeacher
from nlg_distill.teachers.signal import TeacherSignal

EXAMPLES = toy_examples(64)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def objective(nll_weight=0.5, kl_weight=0.5, temperature=2.0):
    terms = {}
    if nll_weight:
        terms["nll"] = LabelTerm(loss=nll, weight=nll_weight)
    if kl_weight:
        loss = partial(forward_kl, temperature=temperature)
        terms["forward_kl"] = DivergenceTerm(loss=loss, weight=kl_weight)
    return Objective(terms)


def distillation(terms=None, dropout=0.0, schedule=None, targets=None):
    torch.manual_seed(1)
    student = StudentModule(toy_model(hidden_size=4), SPECIAL)
    teacher = TeacherModule(toy_model(hidden_size=8, dropout=dropout), SPECIAL)
    return DistillModule(
        student,
        LiveTeacher(teacher),
        targets or Gold(),
        terms or objective(),
        optimizer=partial(torch.optim.SGD, lr=0.5),
        schedule=schedule,
    )


def train(module, micro_batches, accumulate=1, **settings):
    """Trains on fixed micro-batches and gives the parameters as one vector."""
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(module, DataLoader(micro_batches, batch_size=None))
    return torch.nn.utils.parameters_to_vector(module.model.parameters()).detach()


def split(size):
    """The 64 examples in micro-batches of `size`; lengths differ, so do their token counts."""
    return [collate(EXAMPLES[i : i + size], SPECIAL) for i in range(0, len(EXAMPLES), size)]


@pytest.fixture
def batch():
    return collate(EXAMPLES[:8], SPECIAL)


@pytest.mark.parametrize(("size", "accumulate"), [(16, 2), (8, 4)])
def test_update_does_not_depend_on_accumulation(size, accumulate):
    whole = train(distillation(), split(32))
    parts = train(distillation(), split(size), accumulate)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_update_does_not_depend_on_the_number_of_processes(tmp_path):
    whole = train(distillation(), split(32))
    program = [sys.executable, str(Path(__file__)), str(tmp_path / "two.pt")]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    torch.testing.assert_close(two, whole, atol=1e-6, rtol=1e-6)


def test_update_is_the_mean_over_target_tokens(batch):
    module = distillation(objective(nll_weight=1.0, kl_weight=0.0))
    before = torch.nn.utils.parameters_to_vector(module.model.parameters()).detach().clone()
    logits = module.model(batch).logits
    mean = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE_INDEX
    )
    gradients = torch.autograd.grad(mean, list(module.model.parameters()))
    expected = before - 0.5 * torch.nn.utils.parameters_to_vector(gradients)
    torch.testing.assert_close(train(module, [batch]), expected, atol=1e-6, rtol=1e-6)


def test_the_tokens_of_one_update_do_not_count_in_the_next(batch):
    first, second = distillation(), distillation()
    train(first, [batch])
    second.load_state_dict(first.state_dict())
    expected = train(second, [batch])
    torch.testing.assert_close(train(distillation(), [batch, batch]), expected)


def test_a_gradient_is_clipped_after_it_was_divided(batch):
    module = distillation()
    before = torch.nn.utils.parameters_to_vector(module.model.parameters()).detach().clone()
    step = train(module, [batch], gradient_clip_val=0.01) - before
    assert step.norm().item() == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_logged_terms_are_per_target_token(batch):
    module = distillation()
    means = {k: v.item() / batch.num_target_tokens for k, v in terms_of(module, batch).items()}
    train(module, [batch])
    logged = module.trainer.callback_metrics
    for name, value in means.items():
        torch.testing.assert_close(logged[f"train/{name}"], value)
    torch.testing.assert_close(logged["train/loss"], sum(means.values()))


def test_what_a_teacher_says_of_some_positions_is_logged_per_position_of_those(batch):
    module = distillation()
    plain = module.teacher_signal
    known = batch.target_mask & (torch.arange(batch.labels.shape[1]) % 2 == 0)
    module.teacher_signal = lambda given: replace(plain(given), known=known)
    objective = module.objective
    values = objective(module.model(batch), module.teacher_signal(batch), batch)
    train(module, [batch])
    logged = module.trainer.callback_metrics
    for name, counted in (("forward_kl", known), ("nll", batch.target_mask)):
        torch.testing.assert_close(logged[f"train/{name}"], values[name].detach() / counted.sum())


class GivenText(Gold):
    beside = frozenset({Author.STUDENT})

    def forward(self, batch, writers, progress):
        return batch


def by_author():
    """A batch of people's text and one of the student's; a module with one term for each."""
    people, own = split(4)[:2]
    own = replace(own, authors=torch.full_like(own.authors, Author.STUDENT))
    terms = {"of_people": LabelTerm(loss=nll, written_by="gold"), "everything": LabelTerm(loss=nll)}
    terms["of_student"] = LabelTerm(loss=nll, written_by="student", weight=3.0)
    return people, own, distillation(Objective(terms), targets=GivenText())


def test_a_term_of_one_author_is_logged_per_token_of_that_author():
    people, own, module = by_author()
    both = joined(people, own, SPECIAL)
    expected = {
        "of_people": nll(module.model(people).logits, people.labels).sum()
        / people.num_target_tokens,
        "of_student": 3 * nll(module.model(own).logits, own.labels).sum() / own.num_target_tokens,
    }
    train(module, [both])
    for name, value in expected.items():
        torch.testing.assert_close(module.trainer.callback_metrics[f"train/{name}"], value)


def test_a_term_that_counts_nothing_in_a_batch_is_no_idle_term(monkeypatch):
    people, own, module = by_author()
    seen = []
    monkeypatch.setattr(NoOpWatch, "see", lambda self, step, shares: seen.append(set(shares)))
    train(module, [people, own])
    assert seen == [{"of_people", "everything"}, {"everything", "of_student"}]


def test_a_term_is_watched_as_if_its_weight_had_no_schedule(monkeypatch):
    people, _, module = by_author()
    seen = []
    monkeypatch.setattr(NoOpWatch, "see", lambda self, step, shares: seen.append(shares))
    plain = module.objective.terms["everything"]
    module.objective = Objective({"whole": plain, "faded": copy.deepcopy(plain)})
    module.objective.terms["faded"].anneal = lambda progress: 1e-3
    train(module, [people])
    assert float(seen[-1]["faded"]) == pytest.approx(float(seen[-1]["whole"]), rel=1e-3)
    module.objective.terms["faded"].anneal = lambda progress: 0.0
    train(module, [people])
    assert set(seen[-1]) == {"whole"}


def test_a_batch_in_which_no_term_counts_anything_is_passed_over():
    people, own, module = by_author()
    del module.objective.terms["everything"], module.objective.terms["of_people"]
    module.objective.terms["also_of_student"] = LabelTerm(loss=nll, written_by="student")
    before = torch.nn.utils.parameters_to_vector(module.model.parameters()).detach().clone()
    torch.testing.assert_close(train(module, [people]), before)
    assert not torch.equal(train(module, [own]), before)


def test_gradient_shares_cost_once_an_update(batch, monkeypatch):
    steps = []
    monkeypatch.setattr(NoOpWatch, "see", lambda self, step, shares: steps.append(step))
    train(distillation(), [batch] * 6, accumulate=3)
    assert steps == [0, 1]


def test_the_watch_for_idle_terms_is_in_the_checkpoint(batch):
    module, resumed, saved = distillation(), distillation(), {}
    module.no_ops.see(7, {"nll": torch.tensor(0.0)})
    module.on_save_checkpoint(saved)
    resumed.on_load_checkpoint(saved)
    with pytest.warns(UserWarning, match="since step 7"):
        resumed.no_ops.see(7 + NO_OP_STEPS, {"nll": torch.tensor(0.0)})


def test_the_teacher_does_not_run_for_terms_that_ask_it_nothing(batch):
    asked = []

    class Counting(LiveTeacher):
        def __call__(self, batch):
            asked.append(batch)
            return super().__call__(batch)

    for terms in (Objective({"nll": LabelTerm(loss=nll)}), objective()):
        module = distillation(terms)
        module.teacher = Counting(TeacherModule(toy_model(), SPECIAL))
        train(module, [batch, batch])
    assert len(asked) == 2


@pytest.mark.parametrize("online", [True, False])
def test_text_is_written_in_eval_mode_even_if_the_writing_fails(batch, online):
    class Failing(Gold):
        def forward(self, batch, writers, progress):
            assert writers.student.training is not online
            raise RuntimeError("no text")

    module = distillation(targets=Failing())
    module.targets.online = online
    with pytest.raises(RuntimeError, match="no text"):
        train(module, [batch])
    assert module.model.training


def test_the_schedule_goes_on_at_every_update(batch):
    halving = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    module = distillation(schedule=halving)
    train(module, [batch] * 6, accumulate=2)
    assert module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5 * 0.5**3)


def test_training_is_on_the_batch_that_the_targets_policy_gives(batch):
    class Rewriting(Gold):
        def forward(self, batch, writers, progress):
            return collate(EXAMPLES[8:12], SPECIAL)

    module = distillation(targets=Rewriting())
    written = collate(EXAMPLES[8:12], SPECIAL)
    expected = train(distillation(), [written])
    torch.testing.assert_close(train(module, [batch]), expected)
    assert module.tokens_trained_on == written.num_target_tokens


def test_terms_are_sums_with_the_weights_of_the_objective(batch):
    module = distillation(objective(0.3, 0.7))
    terms = terms_of(module, batch)
    student, teacher = module.model(batch).logits, module.teacher(batch).logits
    mask = batch.labels != IGNORE_INDEX
    kl = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=teacher[mask] / 2),
        torch.distributions.Categorical(logits=student[mask] / 2),
    )
    torch.testing.assert_close(terms["forward_kl"], 0.7 * 4 * kl.sum())
    gold = torch.distributions.Categorical(logits=student[mask]).log_prob(batch.labels[mask])
    torch.testing.assert_close(terms["nll"], -0.3 * gold.sum())


def test_padding_changes_no_term(batch):
    module = distillation()
    wider = Batch(
        batch.source_ids,
        batch.source_mask,
        torch.nn.functional.pad(batch.decoder_input_ids, (0, 3), value=SPECIAL.pad),
        torch.nn.functional.pad(batch.labels, (0, 3), value=IGNORE_INDEX),
        batch.example_ids,
        batch.authors,
    )
    for name, value in terms_of(module, batch).items():
        torch.testing.assert_close(terms_of(module, wider)[name], value)


def test_the_teacher_is_frozen_and_in_no_checkpoint(batch):
    """Trap 8: a teacher in train mode, with dropout."""
    module = distillation(dropout=0.5)
    teacher = module.teacher.module
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    first = module.teacher(batch).logits
    train(module, [batch, batch])
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not first.requires_grad
    torch.testing.assert_close(dict(teacher.state_dict()), before)
    torch.testing.assert_close(module.teacher(batch).logits, first)
    assert not [name for name in module.state_dict() if "teacher" in name]
    assert len(list(module.parameters())) == len(list(module.model.parameters()))


def test_a_teacher_that_gives_only_text_is_refused_by_a_divergence(batch):
    module = DistillModule(StudentModule(toy_model(), SPECIAL), None, Gold(), objective())
    with pytest.raises(UserError, match="gives none here: set teacher=live"):
        terms_of(module, batch)
    with pytest.raises(UserError, match="compares distributions"):
        _ = TeacherSignal().logits


def test_distillation_brings_the_student_to_the_teacher(batch):
    module = distillation(objective(nll_weight=0.0, kl_weight=1.0, temperature=1.0))
    module.optimizer = partial(torch.optim.Adam, lr=0.02)
    before = terms_of(module, batch)["forward_kl"]
    train(module, [batch] * 150)
    assert terms_of(module, batch)["forward_kl"] < 0.05 * before


def validating(targets, losses):
    """Trains one step per epoch; `losses` are the sums and tokens that validation finds."""

    class Told(DistillModule):
        def validation_step(self, batch, batch_idx):
            self.validation_nll += torch.tensor(losses[self.current_epoch])

    student = StudentModule(toy_model(), SPECIAL)
    teacher = LiveTeacher(TeacherModule(toy_model(), SPECIAL))
    optimizer = partial(torch.optim.SGD, lr=0.1)
    module = Told(student, teacher, targets, objective(), optimizer=optimizer)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=len(losses),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    loader = DataLoader(split(32)[:1], batch_size=None)
    return module, trainer, loader


def test_the_share_of_the_students_text_is_logged():
    replay = AdaptiveReplay(sampling=Sampling(), step=0.25, tolerance=0.0)
    module, trainer, loader = validating(replay, [[2.0, 1.0], [6.0, 2.0]])
    trainer.fit(module, loader, loader)
    assert float(trainer.callback_metrics["train/on_policy_share"]) == 0.25
    mixture = Mixture(share=0.75, own=StudentSamples(sampling=Sampling()), otherwise=Gold())
    module, trainer, loader = validating(mixture, [[2.0, 1.0]])
    trainer.fit(module, loader, loader)
    assert float(trainer.callback_metrics["train/on_policy_share"]) == 0.75
    module, trainer, loader = validating(Gold(), [[2.0, 1.0]])
    trainer.fit(module, loader, loader)
    assert "train/on_policy_share" not in trainer.callback_metrics


def test_a_policy_is_told_the_loss_of_all_ranks(monkeypatch):
    class Listening(Gold):
        def after_validation(self, nll):
            self.told = nll

    policy = Listening()
    module, trainer, loader = validating(policy, [[2.0, 1.0]])
    single = trainer.strategy.reduce

    def reduce(value, *args, **settings):  # another rank found 7 nats in 2 tokens
        return value + torch.tensor([7.0, 2.0]) if value.shape == (2,) else single(value)

    monkeypatch.setattr(trainer.strategy, "reduce", reduce)
    trainer.fit(module, loader, loader)
    assert policy.told == 3.0


def test_schedule_rises_then_falls_to_zero():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = warmup_cosine(optimizer, warmup_steps=4, max_steps=12)
    rates = []
    for _ in range(13):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[8] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0.0)


def two_processes(path):
    """The same steps as 1x32, on two gloo ranks with 16 examples each."""
    trainer_settings = {"devices": 2, "strategy": "ddp"}
    rank = int(os.environ.get("LOCAL_RANK", 0))
    vector = train(distillation(), split(16)[rank::2], **trainer_settings)
    if rank == 0:
        torch.save(vector, path)


if __name__ == "__main__":
    two_processes(sys.argv[1])
