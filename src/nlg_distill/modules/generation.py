"""What every module shares: token-normalised updates, an optimizer, and writing for validation."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nlg_distill.data.batch import Batch, Example, SpecialIds
from nlg_distill.decoding import Hypothesis, greedy_search
from nlg_distill.losses import LabelTerm, Objective, nll
from nlg_distill.models import GenerationModel
from nlg_distill.modules.diagnostics import NoOpWatch, distributions, gradient_shares
from nlg_distill.modules.optimizers import parameter_groups
from nlg_distill.teachers.signal import TeacherSignal

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
ScheduleFactory = Callable[[Optimizer], LRScheduler]


class GenerationModule(L.LightningModule):
    """A model that learns from batches and writes text.

    Terms are summed over target tokens. The gradient is divided once per optimizer step by the
    target tokens of all its micro-batches and ranks, so that the update does not depend on how
    they are split.
    """

    step_tokens: Tensor
    tokens_trained_on: Tensor
    validation_nll: Tensor

    def __init__(
        self,
        model: GenerationModel,
        special: SpecialIds,
        objective: Objective | None = None,
        *,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
        writes: bool = True,
    ) -> None:
        """Keeps what the training needs.

        Args:
            model: writes text, with a step interface; its parameters are trained.
            special: ids of the tokens that are not text.
            objective: the terms of the loss; plain maximum likelihood if not given.
            optimizer: makes an optimizer of `parameter_groups`; not needed to evaluate.
            schedule: makes a learning-rate schedule of the optimizer, one step per update.
            writes: whether texts are written for validation, where there are sources.
        """
        super().__init__()
        self.model = model
        self.objective = objective or Objective({"nll": LabelTerm(loss=nll)})
        self.special = special
        self.optimizer = optimizer
        self.schedule = schedule
        self.writes = writes
        self.register_buffer("step_tokens", torch.zeros((), dtype=torch.long), persistent=False)
        self.register_buffer("tokens_trained_on", torch.zeros_like(self.step_tokens), False)
        self.register_buffer("validation_nll", torch.zeros(2), persistent=False)
        self.step_terms: dict[str, Tensor] = {}
        self.no_ops = NoOpWatch()

    def refuse_too_long(self, train: Sequence[Example], held_out: Sequence[Example]) -> None:
        """Raises a UserError where a model has too few positions for a text that it is to read."""
        self.model.refuse_too_long([*train, *held_out])

    def training_batch(self, batch: Batch) -> Batch:
        """The batch to train on."""
        return batch

    def teacher_signal(self, batch: Batch) -> TeacherSignal:
        """What the teacher says about the batch."""
        return TeacherSignal()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.objective.begin_step(self.progress)
        batch = self.training_batch(batch)
        student, signal = self.model(batch), self.teacher_signal(batch)
        terms: dict[str, Tensor] = self.objective(student, signal, batch)
        self.step_tokens += batch.num_target_tokens
        self.tokens_trained_on += batch.num_target_tokens
        if self.objective.adapts:
            for name, value in terms.items():
                self.step_terms[name] = self.step_terms.get(name, 0.0) + value.detach()
        total = torch.stack(list(terms.values())).sum()
        splits = self.trainer.accumulate_grad_batches
        if self._logs_now() and (batch_idx + 1) % splits == 0:
            self.log("train/loss", total.detach() / batch.num_target_tokens)
            self.log_terms(terms, signal, batch)
            for name, mean in distributions(student, signal, batch).items():
                self.log(f"train/{name}", mean)
        return total * splits  # Lightning divides by it

    @property
    def progress(self) -> float:
        """The share of the training's optimizer steps that are done, in [0, 1)."""
        return self.global_step / self.trainer.estimated_stepping_batches

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        tokens = self.trainer.strategy.reduce(self.step_tokens, reduce_op="sum")
        scale = self.trainer.world_size / tokens  # DDP has averaged the gradients over the ranks
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
        if self.objective.adapts:
            over_ranks = partial(self.trainer.strategy.reduce, reduce_op="sum")
            sums = over_ranks(torch.stack(list(self.step_terms.values())))
            values = dict(zip(self.step_terms, (sums / tokens).tolist(), strict=True))
            self.objective.end_step(values, over_ranks)
            self.step_terms.clear()
        self.step_tokens.zero_()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own clipping refuses fused optimizers, for the sake of float16 loss scaling.
        largest = math.inf if gradient_clip_val is None else gradient_clip_val
        norm = nn.utils.clip_grad_norm_(self.parameters(), largest)
        if self._logs_now():
            self.log("train/gradient_norm", norm)
            self.log("train/learning_rate", optimizer.param_groups[0]["lr"])

    def _logs_now(self) -> bool:
        return self.trainer.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined, no-any-return]

    def log_terms(self, terms: dict[str, Tensor], signal: TeacherSignal, batch: Batch) -> None:
        """Logs each term per token that it counts, and its share of the gradient beside others.

        A term that counts nothing in this batch, since others wrote it or the teacher says nothing
        about it, has no part in this.
        """
        counted = {
            name: term.mask(term.where_known(signal, batch)).sum()
            for name, term in self.objective.items()
        }
        there = {name: value for name, value in terms.items() if counted[name] > 0}
        for name, value in there.items():
            self.log(f"train/{name}", value.detach() / counted[name])
        if there and len(terms) > 1:
            shares = gradient_shares(there, self.parameters())
            anneals = {name: term.anneal_factor for name, term in self.objective.items()}
            heard = {name: share for name, share in shares.items() if anneals[name] > 0}
            self.no_ops.see(
                self.global_step, {name: share / anneals[name] for name, share in heard.items()}
            )
            for name, share in shares.items():
                self.log(f"train/gradient_share/{name}", share)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["no_ops"] = self.no_ops.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.no_ops.load_state_dict(checkpoint["no_ops"])

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Hypothesis]]:
        """The text that greedy search finds for each source; counts the loss on the gold text."""
        values = nll(self.model(batch).logits, batch.labels)
        self.validation_nll += torch.stack([values.sum(), batch.num_target_tokens])
        if not self.writes:
            return {"hypotheses": []}
        found = greedy_search(self.model, batch.source_ids, batch.source_mask, self.special)
        return {"hypotheses": [hypotheses[0] for hypotheses in found]}

    def on_validation_epoch_start(self) -> None:
        self.validation_nll.zero_()

    def on_validation_epoch_end(self) -> None:
        total, tokens = self.validation_nll.tolist()
        self.log("val/nll", total / tokens, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.optimizer is not None, "a module without optimizer cannot train"
        optimizer = self.optimizer(parameter_groups(self.parameters(), self.model))
        if self.schedule is None:
            return optimizer
        schedule: Any = {"scheduler": self.schedule(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
