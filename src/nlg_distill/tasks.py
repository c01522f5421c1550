"""What a task is to the rest: how its texts are scored, and what picks the best weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nlg_distill.errors import UserError
from nlg_distill.text_metrics import (
    bleu,
    bleu_signature,
    chrf,
    chrf_signature,
    length_ratio,
    repetition,
)

Metric = Callable[[Sequence[str], Sequence[str], Sequence[str]], float | str]
LOSS = "val/nll"
TRANSLATION = {"_target_": "nlg_distill.tasks.Task"}


def translation_metrics() -> dict[str, Metric]:
    """BLEU and chrF with their signatures, length ratio and repetition."""
    return {
        "bleu": bleu,
        "chrf": chrf,
        "bleu_signature": bleu_signature,
        "chrf_signature": chrf_signature,
        "length_ratio": length_ratio,
        "repetition": repetition,
    }


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task; translation, if nothing else is said.

    Args:
        metrics: by their names in `result.json`, functions of texts, references and sources, each
            of the whole test set. A name that ends in `_signature` is of no number.
        monitor: what picks the best weights and stops a training that no longer gains: `val/nll`,
            the loss on gold text, or `val/` and the name of a metric, of greedy texts.
        mode: whether `monitor` is better at its `max` or its `min`.
        writes: whether there are sources to write for. Without, the loss alone can be watched, and
            `metrics` are of texts that are drawn once a model is trained: see `DRAWN`.
    """

    metrics: Mapping[str, Metric] = field(default_factory=translation_metrics)
    monitor: str = "val/bleu"
    mode: str = "max"
    writes: bool = True

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        if self.mode not in ("max", "min"):
            raise UserError(f"mode must be max or min, got {self.mode}")
        numbers = [name for name in self.metrics if not name.endswith("_signature")]
        known = [LOSS, *(f"val/{name}" for name in numbers if self.writes)]
        if self.monitor not in known:
            raise UserError(f"monitor={self.monitor} is not known: use one of {', '.join(known)}")
        if self.monitor == LOSS and self.mode == "max":
            raise UserError(f"monitor={LOSS} is better at its minimum: set mode=min too")

    @property
    def watched(self) -> dict[str, Metric]:
        """The metric that `monitor` is of, by its name; none if it is the loss."""
        return {name: m for name, m in self.metrics.items() if f"val/{name}" == self.monitor}

    def score(
        self, texts: Sequence[str], references: Sequence[str], sources: Sequence[str]
    ) -> dict[str, float | str]:
        """Every metric of these texts."""
        return {name: metric(texts, references, sources) for name, metric in self.metrics.items()}
