"""What every module shares: token-normalised updates, an optimizer, and writing for validation."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nlg_distill.data.batch import Batch, SpecialIds
from nlg_distill.decoding import Hypothesis, greedy_search
from nlg_distill.losses import LabelTerm, Objective, nll
from nlg_distill.models import EncoderDecoder
from nlg_distill.teachers.signal import TeacherSignal

OptimizerFactory = Callable[[Iterator[nn.Parameter]], Optimizer]
ScheduleFactory = Callable[[Optimizer], LRScheduler]


class GenerationModule(L.LightningModule):
    """A model that learns from batches and writes text.

    Terms are summed over target tokens. The gradient is divided once per optimizer step by the
    target tokens of all its micro-batches and ranks, so that the update does not depend on how
    they are split.
    """

    step_tokens: Tensor

    def __init__(
        self,
        model: EncoderDecoder,
        special: SpecialIds,
        objective: Objective | None = None,
        *,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
    ) -> None:
        """Keeps what the training needs.

        Args:
            model: an encoder-decoder with a step interface; its parameters are trained.
            special: ids of the tokens that are not text.
            objective: the terms of the loss; plain maximum likelihood if not given.
            optimizer: makes an optimizer of parameters; not needed to evaluate.
            schedule: makes a learning-rate schedule of the optimizer, one step per update.
        """
        super().__init__()
        self.model = model
        self.objective = objective or Objective({"nll": LabelTerm(loss=nll)})
        self.special = special
        self.optimizer = optimizer
        self.schedule = schedule
        self.register_buffer("step_tokens", torch.zeros((), dtype=torch.long), persistent=False)

    def objective_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Each term of the objective, weighted and summed over target tokens, in nats."""
        return self.objective(self.model(batch), TeacherSignal(), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        terms = self.objective_terms(batch)
        tokens = batch.num_target_tokens
        self.step_tokens += tokens
        total = torch.stack(list(terms.values())).sum()
        self.log_terms(terms, total, tokens)
        return total * self.trainer.accumulate_grad_batches  # Lightning divides by it

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        tokens = self.trainer.strategy.reduce(self.step_tokens, reduce_op="sum")
        scale = self.trainer.world_size / tokens  # DDP has averaged the gradients over the ranks
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
        self.step_tokens.zero_()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own clipping refuses fused optimizers, for the sake of float16 loss scaling.
        largest = math.inf if gradient_clip_val is None else gradient_clip_val
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), largest)
        if self._logs_now():
            self.log("train/gradient_norm", norm)
            self.log("train/learning_rate", optimizer.param_groups[0]["lr"])

    def _logs_now(self) -> bool:
        return self.trainer.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined, no-any-return]

    def log_terms(self, terms: dict[str, Tensor], total: Tensor, tokens: Tensor) -> None:
        """Logs each term per target token, every `log_every_n_steps`."""
        if not self._logs_now():
            return
        self.log("train/loss", total.detach() / tokens)
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach() / tokens)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Hypothesis]]:
        """The text that greedy search finds for each source of the batch."""
        found = greedy_search(self.model, batch.source_ids, batch.source_mask, self.special)
        return {"hypotheses": [hypotheses[0] for hypotheses in found]}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.optimizer is not None, "a module without optimizer cannot train"
        optimizer = self.optimizer(self.model.parameters())
        if self.schedule is None:
            return optimizer
        schedule: Any = {"scheduler": self.schedule(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
