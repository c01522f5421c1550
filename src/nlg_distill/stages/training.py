"""Stages: train a teacher, train a student."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import nn

from nlg_distill.callbacks import (
    ProcessSettings,
    ProgressCallback,
    ReseedEveryEpoch,
    Stopwatch,
    TextsOnValidation,
)
from nlg_distill.curves import CurvesLogger
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import TextDataModule
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.errors import UserError, require_positive
from nlg_distill.losses import Objective
from nlg_distill.memory import PeakMemory
from nlg_distill.modules import DistillModule, GenerationModule, StudentModule, TeacherModule
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.lengths import short_enough
from nlg_distill.stages.models import build_model, save_model
from nlg_distill.stages.no_training import NoTraining
from nlg_distill.stages.sources import open_source
from nlg_distill.stages.teacher_text import training_pairs
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer
from nlg_distill.store import console, write_json
from nlg_distill.tasks import TRANSLATION, Task


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained, whatever it learns.

    Args:
        max_steps: optimizer steps, a multiple of `validate_every`.
        validate_every: steps between validations; a killed training goes on from the last one.
        patience: validations without a better `monitor` of the task after which training stops.
        validation_pairs: how many validation pairs are scored.
        batch_tokens: bound of a micro-batch of one device, padding included.
        max_tokens: training pairs with a longer side are left out, and counted.
        accumulate_grad_batches: micro-batches per optimizer step.
        gradient_clip_val: largest gradient norm.
        threads: threads of a CPU training.
        optimizer: makes an optimizer of `modules.optimizers.parameter_groups`.
        schedule: makes a learning-rate schedule of the optimizer.
    """

    max_steps: int
    validate_every: int
    patience: int
    validation_pairs: int
    batch_tokens: int
    max_tokens: int
    accumulate_grad_batches: int
    gradient_clip_val: float
    threads: int
    optimizer: Callable[..., Any]
    schedule: Callable[..., Any]
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        require_positive(
            max_steps=self.max_steps,
            validate_every=self.validate_every,
            patience=self.patience,
            validation_pairs=self.validation_pairs,
            batch_tokens=self.batch_tokens,
            accumulate_grad_batches=self.accumulate_grad_batches,
            gradient_clip_val=self.gradient_clip_val,
            threads=self.threads,
        )
        if self.max_steps % self.validate_every:
            raise UserError(
                f"max_steps={self.max_steps} must be a multiple of "
                f"validate_every={self.validate_every}: set that, too, as in "
                f"validate_every={self.max_steps}"
            )

    def rehearse(self) -> None:
        """Lets optimizer and schedule refuse their settings."""
        shapes = {True: (1, 1), False: (1,)}
        groups = [
            {"params": [nn.Parameter(torch.zeros(shape))], "matrices": matrices}
            for matrices, shape in shapes.items()
        ]
        self.schedule(self.optimizer(groups))

    def fit(
        self,
        module: GenerationModule,
        pairs: Sequence[Pair],
        tokenizer: Tokenizer,
        config: Mapping[str, Any],
        parents: Mapping[str, Path],
        out: Path,
        session: Session,
    ) -> None:
        """Trains the module, from a checkpoint if there is one, and keeps the best weights."""
        task = _task(config)
        train = short_enough(pairs, tokenizer, self.max_tokens)
        validation = load_split(parents["corpus"], "validation")[: self.validation_pairs]
        held_out = encode_pairs(validation, tokenizer)
        tested = encode_pairs(load_split(parents["corpus"], "test"), tokenizer)
        module.refuse_too_long(train, [*held_out, *tested])
        data = TextDataModule(
            train,
            held_out,
            tokenizer.special,
            batch_tokens=self.batch_tokens,
            batches_per_epoch=self.validate_every * self.accumulate_grad_batches,
            seed=config["seed"],
        )
        best = ModelCheckpoint(
            out / "work",
            filename="best",
            monitor=task.monitor,
            mode=task.mode,
            save_weights_only=True,
            enable_version_counter=False,
        )
        stopwatch, memory = Stopwatch(), PeakMemory()
        callbacks = [
            ProcessSettings(self.threads),
            ReseedEveryEpoch(config["seed"]),
            *([TextsOnValidation(tokenizer, validation, task.watched)] if task.writes else []),
            best,
            EarlyStopping(task.monitor, mode=task.mode, patience=self.patience),
            stopwatch,
            memory,
            ProgressCallback(self.max_steps, out.parent.name, task.monitor),
        ]
        end = _run_to_its_end(module, data, self, callbacks, out, session)
        best_weights = torch.load(out / "work" / "best.ckpt", weights_only=True)["state_dict"]
        module.load_state_dict(best_weights)
        save_model(module.model, parents["tokenizer"], out)
        seconds = end["callbacks"][stopwatch.state_key]["seconds"]
        peak = end["callbacks"][memory.state_key]["megabytes"]
        best_score = end["callbacks"][best.state_key]["best_model_score"]
        facts = {
            f"best_validation_{task.monitor.removeprefix('val/')}": float(best_score),
            "steps": end["global_step"],
            "training_seconds": round(seconds, 1),
            "total_training_seconds": round(_seconds_before(parents) + seconds, 1),
            "training_pairs": len(train),
            "left_out_as_too_long": len(pairs) - len(train),
            **({"peak_megabytes": round(peak, 1)} if peak else {}),
        }
        write_json(out / "training.json", facts)


def build_teacher(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Trains a teacher on the gold text, by maximum likelihood."""
    training, tokenizer = _prepare(config, parents)
    module = TeacherModule(
        build_model(config["model"], tokenizer.vocab_size),
        tokenizer.special,
        Objective(instantiate(config["loss"], _convert_="all")),
        optimizer=training.optimizer,
        schedule=training.schedule,
        writes=_task(config).writes,
    )
    pairs = load_split(parents["corpus"], "train")
    training.fit(module, pairs, tokenizer, config, parents, out, session)


def build_student(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Trains a student on the targets policy's text with the objective's terms."""
    training, tokenizer = _prepare(config, parents)
    model = build_model(config["model"], tokenizer.vocab_size)
    write_json(out / "init.json", instantiate(config["init"])(model, parents))
    targets = instantiate(config["targets"], _convert_="all")
    pairs = training_pairs(parents, targets)
    source = open_source(config, parents, pairs, tokenizer)
    module = DistillModule(
        StudentModule(model, tokenizer.special, writes=_task(config).writes),
        source,
        targets,
        Objective(instantiate(config["loss"], _convert_="all")),
        optimizer=training.optimizer,
        schedule=training.schedule,
    )
    training.fit(module, pairs, tokenizer, config, parents, out, session)


def _task(config: Mapping[str, Any]) -> Task:
    """What the best weights are picked by."""
    task: Task = instantiate(config.get("task", TRANSLATION), _convert_="all")
    return task


def _seconds_before(parents: Mapping[str, Path]) -> float:
    """What the training of the student that this one starts from took."""
    if "init" not in parents:
        return 0.0
    facts = json.loads((parents["init"] / "training.json").read_text(encoding="utf-8"))
    seconds: float = facts["total_training_seconds"]
    return seconds


def _prepare(
    config: Mapping[str, Any], parents: Mapping[str, Path]
) -> tuple[Training | NoTraining, Tokenizer]:
    training: Training | NoTraining = instantiate(config["training"], _convert_="all")
    torch.set_num_threads(training.threads)
    L.seed_everything(config["seed"], verbose=False)
    return training, load_tokenizer(parents["tokenizer"])


def _run_to_its_end(
    module: GenerationModule,
    data: TextDataModule,
    training: Training,
    callbacks: Sequence[Callback],
    out: Path,
    session: Session,
) -> dict[str, Any]:
    """Fits the module, from the last checkpoint if there is one.

    Returns:
        The last checkpoint. Several processes leave the state of their callbacks nowhere else.
    """
    work = out / "work"
    trainer: L.Trainer = instantiate(
        session.trainer,
        strategy=session.strategy,
        default_root_dir=work,
        max_epochs=training.max_steps // training.validate_every,
        accumulate_grad_batches=training.accumulate_grad_batches,
        gradient_clip_val=training.gradient_clip_val,
        logger=[CurvesLogger(out), *session.loggers_of(out)],
        callbacks=[
            *callbacks,
            ModelCheckpoint(
                work, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
            ),
        ],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = work / "last.ckpt"
    begun = last.is_file()
    if begun:
        steps = torch.load(last, weights_only=True)["global_step"]
        console.print(f"goes on from step {steps:,} of {training.max_steps:,}: {out}")
    trainer.fit(module, data, ckpt_path=last if begun else None, weights_only=True)
    end: dict[str, Any] = torch.load(last, weights_only=True)
    return end
