"""A pretrained teacher that is not trained any further."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.errors import require_positive
from nlg_distill.modules import GenerationModule
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import save_model
from nlg_distill.stages.tokenizer import encode_pairs
from nlg_distill.store import write_json


@dataclass(frozen=True, kw_only=True)
class NoTraining:
    """A checkpoint is taken over as it is, as a teacher.

    Args:
        threads: threads of a CPU where it writes.
    """

    threads: int
    trains: ClassVar[bool] = False
    optimizer: ClassVar[None] = None
    schedule: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        require_positive(threads=self.threads)

    def rehearse(self) -> None:
        """Has nothing to refuse."""

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
        """Keeps the model, unless there are test texts that it cannot read."""
        tested = encode_pairs(load_split(parents["corpus"], "test"), tokenizer)
        module.refuse_too_long([], tested)
        save_model(module.model, parents["tokenizer"], out)
        facts = {"steps": 0, "training_seconds": 0.0, "total_training_seconds": 0.0}
        write_json(out / "training.json", facts | {"training_pairs": 0})
