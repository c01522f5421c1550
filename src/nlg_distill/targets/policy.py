"""What every targets policy offers: whose text the student is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from nlg_distill.data.batch import Batch
from nlg_distill.data.corpus import Pair


@dataclass(frozen=True)
class TeacherText:
    """One of the teacher's best texts for a source, and its log-probability in nats."""

    text: str
    log_prob: float


@dataclass(frozen=True, kw_only=True)
class Beam:
    """How the teacher writes: beam size, texts kept per source, exponent of the length."""

    beam_size: int
    num_hypotheses: int
    length_penalty: float = 1.0


class TargetsPolicy:
    """Trains on the text it is given; the base of every policy.

    A policy that needs the teacher's text names the beam that writes it, and picks one text per
    source before training. A policy that writes during training replaces batches as they come.
    """

    beam: Beam | None = None

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The target text of one source; `hypotheses` are the teacher's, best first."""
        return pair.target

    def __call__(self, batch: Batch) -> Batch:
        """The batch to train on."""
        return batch
