"""What every targets policy offers: whose text the student is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Author, Batch, SpecialIds, with_targets
from nlg_distill.data.corpus import Pair
from nlg_distill.decoding import USUAL_LIMIT, Hypothesis, LengthLimit, beam_search, sample
from nlg_distill.distributions import sharpened
from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.teachers.black_box import BlackBox


@dataclass(frozen=True)
class TeacherText:
    """One of the teacher's texts for a source, and its log-probability in nats.

    One that was cut at its length limit is taken as a text that ends there. A black box tells no
    log-probability.
    """

    text: str
    log_prob: float | None


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Beam search: its size, texts kept per source, exponent of the length."""

    draws: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True

    beam_size: int
    num_hypotheses: int
    length_penalty: float = 1.0

    def write(
        self,
        model: GenerationModel,
        batch: Batch,
        special: SpecialIds,
        *,
        limit: LengthLimit = USUAL_LIMIT,
        beginning: Int[Tensor, "sources given"] | None = None,
    ) -> list[list[Hypothesis]]:
        """For each source the best texts, best first; see `beam_search`."""
        return beam_search(
            model,
            batch.source_ids,
            batch.source_mask,
            special,
            beam_size=self.beam_size,
            num_hypotheses=self.num_hypotheses,
            length_penalty=self.length_penalty,
            limit=limit,
            beginning=beginning,
        )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Texts drawn from a model's own distribution, by torch's global seed."""

    draws: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    num_hypotheses: int = 1
    sampling_temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        self.sharpened(torch.zeros(2))

    @property
    def plain(self) -> bool:
        """Whether a token is drawn with the probability that the model gives it."""
        return self.sampling_temperature == 1 and self.top_k is None and self.top_p is None

    def sharpened(self, logits: Float[Tensor, "*tokens vocab"]) -> Float[Tensor, "*tokens vocab"]:
        """Logits of the distribution that tokens are drawn from, where a model's are these."""
        return sharpened(
            logits,
            sampling_temperature=self.sampling_temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )

    def write(
        self,
        model: Any,
        batch: Batch,
        special: SpecialIds,
        *,
        limit: LengthLimit = USUAL_LIMIT,
        beginning: Int[Tensor, "sources given"] | None = None,
    ) -> list[list[Hypothesis]]:
        """For each source the texts in the order drawn; see `sample`."""
        generator = torch.Generator(batch.labels.device)
        generator.manual_seed(int(torch.randint(2**62, ())))
        return sample(
            model,
            batch.source_ids,
            batch.source_mask,
            special,
            generator=generator,
            num_hypotheses=self.num_hypotheses,
            sampling_temperature=self.sampling_temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            limit=limit,
            beginning=beginning,
        )

    def require_one_text(self) -> None:
        """Refuses several texts for a source, where all but the first would be lost.

        Raises:
            UserError: if `num_hypotheses` is not 1.
        """
        if self.num_hypotheses != 1:
            raise UserError(
                f"num_hypotheses must be 1, got {self.num_hypotheses}: of the texts drawn for a "
                f"source, only the first would be trained on"
            )

    def rewrite(self, model: Any, batch: Batch, special: SpecialIds) -> Batch:
        """The batch's sources with a text drawn for each in place of its target."""
        found = [hypotheses[0] for hypotheses in self.write(model, batch, special)]
        texts, ended = [h.token_ids for h in found], [h.ended for h in found]
        return with_targets(batch, texts, special, Author.STUDENT, ended=ended)


@dataclass(frozen=True, kw_only=True)
class Writers:
    """Who can write during training: the student as it is, and the teacher if it runs.

    Both are in eval mode and nothing they do has a gradient.
    """

    student: GenerationModel
    teacher: GenerationModel | None
    special: SpecialIds


class TargetsPolicy(nn.Module):
    """Trains on the text it is given; the base of every policy.

    A policy that needs the teacher's text says how it is `writing`, and picks one text per source
    before training. A policy that writes during training replaces batches as they come. What a
    policy remembers is in the checkpoint.
    """

    writing: Beam | Sampling | BlackBox | None = None
    author = Author.GOLD
    """Who wrote what `pick` gives."""
    beside: ClassVar[frozenset[Author]] = frozenset()
    """Who else's texts are trained on: those that `forward` adds, or takes instead."""
    online = False
    """Whether text is written during training, so that no teacher signal can be made before."""
    needs_trained_student = False
    """Whether the student alone writes from the first step on: a random one writes noise."""
    needs_live_teacher = False
    """Whether the teacher writes during training."""
    teacher_share: float | None = None
    """The alpha with which every token of the students' texts is drawn from alpha p + (1 - alpha) q
    of both models as they are; None where they are drawn otherwise."""

    @classmethod
    def student_writes_alone(cls, settings: Mapping[str, Any]) -> bool:
        """Whether, with these settings of its config, the student alone writes some texts."""
        writes = Author.STUDENT in cls.beside | {cls.author}
        return cls.online and writes and not cls.needs_live_teacher

    @property
    def authors(self) -> frozenset[Author]:
        """Everyone whose texts are trained on."""
        return self.beside | {self.author}

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The target text of one source; `hypotheses` are the teacher's, best first."""
        return pair.target

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The batch to train on; `progress` of the training is in [0, 1)."""
        return replace(batch, authors=torch.full_like(batch.authors, self.author))

    def on_policy_share(self, progress: float) -> float | None:
        """The share of batches with the student's own text, of policies that give it to some."""
        return None

    def after_validation(self, nll: float) -> None:
        """Told after every validation the student's loss on gold text, in nats per token."""


class OnlinePolicy(TargetsPolicy):
    """Draws one text for a source during training; the base of all that do."""

    online = True

    def __init__(self, *, sampling: Sampling) -> None:
        """`sampling` is how texts are drawn.

        Raises:
            UserError: if it draws more than one text for a source.
        """
        super().__init__()
        sampling.require_one_text()
        self.sampling = sampling
