"""What watches a training: texts, clock, progress bar; and the seed that makes it resumable."""

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from nlg_distill.allocator import keep_freed_memory
from nlg_distill.data.batch import Batch
from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.decoding import Hypothesis
from nlg_distill.loggers import quiet_libraries
from nlg_distill.metrics import mode_probability
from nlg_distill.modules import DistillModule, GenerationModule
from nlg_distill.progress import progress
from nlg_distill.tasks import Metric
from nlg_distill.text_metrics import length_ratio, repetition


class ProcessSettings(Callback):
    """What each process of a training needs, also one that Lightning starts."""

    def __init__(self, threads: int) -> None:
        """`threads` of a CPU training."""
        self.threads = threads

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        quiet_libraries()
        keep_freed_memory()
        torch.set_num_threads(self.threads)


class ReseedEveryEpoch(Callback):
    """Draws each epoch's randomness from the seed and the epoch's number.

    A training that goes on from a checkpoint then sees the dropout that it would have seen.
    """

    def __init__(self, seed: int) -> None:
        """`seed` of the run."""
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        # Not at the epoch's start: making the loader's iterator draws a number too, before that
        # hook in the first epoch after a start and behind it in all others.
        if batch_idx == 0:
            torch.manual_seed(
                (self.seed * 1_000_003 + trainer.current_epoch) * 1_009 + trainer.global_rank
            )


class TextsOnValidation(Callback):
    """Scores of what the module writes for the validation sources, logged as `val/<name>`."""

    def __init__(
        self, tokenizer: Tokenizer, pairs: Sequence[Pair], metrics: Mapping[str, Metric]
    ) -> None:
        """`pairs[i]` is example `i`; `metrics` are those that weights are picked by."""
        self.tokenizer, self.metrics = tokenizer, metrics
        self.sources = [pair.source for pair in pairs]
        self.references = [pair.target for pair in pairs]
        self.was_sound = self.warned = False
        self.written: dict[int, Hypothesis] = {}

    def state_dict(self) -> dict[str, bool]:
        return {"was_sound": self.was_sound, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        self.was_sound, self.warned = state_dict["was_sound"], state_dict["warned"]

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        hypotheses: list[Hypothesis] = outputs["hypotheses"]
        for number, hypothesis in zip(batch.example_ids.tolist(), hypotheses, strict=True):
            self.written[number] = hypothesis

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        hypotheses = [self.written[i] for i in range(len(self.references))]
        texts = self.tokenizer.decode([hypothesis.token_ids for hypothesis in hypotheses])
        compared = (texts, self.references, self.sources)
        found = {
            **{name: float(metric(*compared)) for name, metric in self.metrics.items()},
            "mode_probability": mode_probability(hypotheses),
            "length_ratio": length_ratio(*compared),
            "repetition": repetition(*compared),
        }
        pl_module.log_dict({f"val/{name}": value for name, value in found.items()}, sync_dist=True)
        problem = collapse(found)
        self.was_sound |= problem is None
        if problem is not None and self.was_sound and not self.warned:
            self.warned = True
            warnings.warn(
                f"at step {trainer.global_step} the model's own text has collapsed: {problem}. On "
                f"its own text a student may drift: warm-start it (init=experiment), mix in gold "
                f"text (targets=mixture), or lower the learning rate",
                stacklevel=2,
            )
        self.written.clear()


def collapse(found: Mapping[str, float]) -> str | None:
    """What is wrong with the length or the repetition of written text, if anything."""
    ratio, repeated = found["length_ratio"], found["repetition"]
    if not 0.4 <= ratio <= 2.5:
        return f"it is {ratio:.2f} times as long as the references"
    if repeated > 0.5:
        return f"{repeated:.0%} of its bigrams repeat"
    return None


class Stopwatch(Callback):
    """Seconds spent in training, validation included, over all attempts; and tokens per second.

    Tokens are those of the texts that were trained on, whoever wrote them.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        self.seconds = 0.0
        self._since = 0.0
        self._marked = 0.0

    def state_dict(self) -> dict[str, float]:
        self._read()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = self._marked = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._read()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin_anew(pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, GenerationModule)
        if (batch_idx + 1) % (trainer.log_every_n_steps * trainer.accumulate_grad_batches) == 0:  # type: ignore[attr-defined]
            seconds = time.monotonic() - self._marked
            tokens = int(pl_module.tokens_trained_on) * trainer.world_size
            pl_module.log("train/tokens_per_second", tokens / seconds)
            if isinstance(pl_module, DistillModule):
                pl_module.log("train/writing_share", pl_module.writing_seconds / seconds)
            self._begin_anew(pl_module)

    def _begin_anew(self, module: L.LightningModule) -> None:
        """Forgets what was counted before a log line or a validation."""
        assert isinstance(module, GenerationModule)
        self._marked = time.monotonic()
        module.tokens_trained_on.zero_()
        if isinstance(module, DistillModule):
            module.writing_seconds = 0.0

    def _read(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now


class ProgressCallback(Callback):
    """The one kind of progress bar, fed by the trainer's steps."""

    def __init__(self, max_steps: int, text: str, monitor: str) -> None:
        """`text` says what is trained; `monitor` is shown after each validation."""
        self.max_steps, self.text, self.monitor = max_steps, text, monitor
        self._stack = ExitStack()
        self._seen = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            text = f"train {self.text}"
            self.bar = self._stack.enter_context(progress(text, self.max_steps))

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if trainer.is_global_zero:
            self.bar.advance(trainer.global_step - self._seen)
            self._seen = trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and self.monitor in trainer.callback_metrics:
            value = float(trainer.callback_metrics[self.monitor])
            self.bar.describe(f"train {self.text} ({self.monitor} {value:.3g})")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stack.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._stack.close()
        if isinstance(exception, KeyboardInterrupt):
            print(
                f"Interrupted at step {trainer.global_step}. The same command goes on from the "
                f"last validation.",
                file=sys.stderr,
            )
