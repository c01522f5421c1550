"""Every configured term in a Lightning training: it trains, and its state lasts."""

from functools import partial

import lightning as L
import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model
from lightning.pytorch.callbacks import ModelCheckpoint
from loss_cases import NAMES, configured
from torch.utils.data import DataLoader

from nlg_distill.data.batch import collate
from nlg_distill.losses import Objective
from nlg_distill.modules import DistillModule, StudentModule, TeacherModule
from nlg_distill.targets import Gold
from nlg_distill.teachers.live import LiveTeacher

EXAMPLES = toy_examples(8)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def distillation(*names):
    torch.manual_seed(1)
    terms = {name: configured(name, student_size=4, teacher_size=8) for name in names}
    teacher = TeacherModule(toy_model(hidden_size=8), SPECIAL)
    return DistillModule(
        StudentModule(toy_model(hidden_size=4), SPECIAL),
        LiveTeacher(teacher),
        Gold(),
        Objective(terms),
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )


def trainer(steps=2, **settings):
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing="callbacks" in settings,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **settings,
    )


def batches(count=4):
    return DataLoader([collate(EXAMPLES, SPECIAL)] * count, batch_size=None)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "policy_gradient"])
def test_every_term_trains_the_student(name):
    module = distillation(*{"nll", name})
    before = [p.detach().clone() for p in module.parameters()]
    run = trainer()
    run.fit(module, batches(2))
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True))
    if name != "nll":
        assert 0 < run.callback_metrics[f"train/gradient_share/{name}"] < 1


def test_projections_are_trained_and_kept_but_are_no_part_of_the_model():
    module = distillation("nll", "hidden_mse")
    own = {name for name in module.state_dict() if "projections" in name}
    assert own == {f"objective.terms.hidden_mse.projections.{i}.weight" for i in (0, 1)}
    assert not [name for name in module.model.state_dict() if "projections" in name]
    start = module.objective.terms["hidden_mse"].projections[0].weight.detach().clone()
    trainer().fit(module, batches())
    assert not torch.equal(module.objective.terms["hidden_mse"].projections[0].weight, start)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_taid_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    settings = dict(steps=-1, max_epochs=2)

    def keep():
        return [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)]

    whole, second = distillation("nll", "taid"), distillation("nll", "taid")
    trainer(**settings, callbacks=keep()).fit(whole, batches(2))
    half = tmp_path / "epoch=0.ckpt"
    state = torch.load(half, weights_only=True)["state_dict"]
    assert state["objective.terms.taid.previous"].isfinite()
    assert 0.4 < state["objective.terms.taid.t"] < whole.objective.terms["taid"].t
    resumed = trainer(**settings, callbacks=keep())
    resumed.fit(second, batches(2), ckpt_path=half, weights_only=True)
    for name in ("t", "trend", "previous"):
        found, expected = (getattr(m.objective.terms["taid"], name) for m in (second, whole))
        torch.testing.assert_close(found, expected)


def test_what_taid_is_told_does_not_depend_on_accumulation():
    told = []
    for rows, accumulate in ((8, 1), (2, 4)):
        module = distillation("taid")
        parts = [collate(EXAMPLES[i : i + rows], SPECIAL) for i in range(0, 8, rows)]
        loader = DataLoader(parts, batch_size=None)
        trainer(1, accumulate_grad_batches=accumulate).fit(module, loader)
        told.append(module.objective.terms["taid"].previous)
    torch.testing.assert_close(*told)
