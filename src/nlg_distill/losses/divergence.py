"""Terms that compare the teacher's distribution with the student's."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nlg_distill.data.batch import Batch, Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.losses.term import Schedule, Term
from nlg_distill.losses.token_weights import TokenWeights
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal

Transform = Callable[[Tensor], Tensor]


def refuse_other_vocabulary(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Refuses sides of which the same token has not the same number.

    Raises:
        UserError: if the vocabularies differ in size.
    """
    ours, theirs = student_logits.shape[-1], teacher_logits.shape[-1]
    if ours != theirs:
        raise UserError(
            f"the student's vocabulary has {ours} tokens and the teacher's {theirs}: this loss "
            f"compares token with token, so give both the same tokenizer, or use "
            f"loss=[nll,sorted_wasserstein]"
        )


class DivergenceTerm(Term):
    """A divergence that does not care which tokens are which: `loss(student, teacher)`.

    Of a sparse signal, both sides become distributions over its k tokens and one bucket for all
    others: a lower bound of the divergence, exact where k is the vocabulary.
    """

    asks = frozenset({Gives.VOCABULARY, Gives.DISTRIBUTION})
    compares_vocabularies = False
    """Whether the two sides may have vocabularies of different sizes."""

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
        temperature: Schedule | None = None,
        transform: Transform | None = None,
        token_weights: TokenWeights | None = None,
    ) -> None:
        """Keeps the loss and what is wrapped around it.

        Args:
            loss: a pure function of two tensors of logits, in nats per token.
            weight: see `Term`.
            anneal: see `Term`.
            written_by: see `Term`.
            temperature: the loss's temperature as a function of progress; its own if not given.
            transform: changes both sides' logits before they are compared.
            token_weights: factor of every target position.

        Raises:
            UserError: if the loss has a temperature of its own beside a schedule.
        """
        super().__init__(weight=weight, anneal=anneal, written_by=written_by)
        self.loss, self.temperature = loss, temperature
        self.transform, self.token_weights = transform, token_weights
        if temperature is not None and self.own_temperature != 1:
            raise UserError(
                f"loss.temperature={self.own_temperature} has no effect beside a schedule of the "
                f"temperature: set it to 1, or leave the schedule out"
            )

    def where_known(self, signal: TeacherSignal, batch: Batch) -> Batch:
        """Only the labels at which the teacher's distribution is known."""
        return batch if signal.known is None else batch.only(signal.known)

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The divergence at every target position."""
        sides = self.sides(student, signal)
        if self.transform is not None:
            sides = (self.transform(sides[0]), self.transform(sides[1]))
        values = self.compare(sides[0], sides[1], batch, **self.settings(self.progress))
        return self.weighted(values, student, signal, batch)

    def weighted(
        self,
        values: Float[Tensor, "batch time"],
        student: ModelOutput,
        signal: TeacherSignal,
        batch: Batch,
    ) -> Float[Tensor, "batch time"]:
        """The values times the token weights, if there are any."""
        if self.token_weights is None:
            return values
        return values * self.token_weights(student, signal, batch, self.mask(batch))

    def settings(self, progress: float) -> dict[str, float]:
        """What the loss is told beside its own settings."""
        return {} if self.temperature is None else {"temperature": self.temperature(progress)}

    def rehearse(self) -> None:
        """Compares two uniform distributions, as at the beginning and at the end of a training."""
        batch = collate([Example(0, [3], [3])], SpecialIds(pad=0, begin=1, end=2))
        logits = torch.zeros(*batch.labels.shape, 4)
        for progress in (0.0, 1.0):
            self.compare(logits, logits, batch, **self.settings(progress))

    def compare(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
        **settings: float,
    ) -> Float[Tensor, "batch time"]:
        """The loss of the two sides."""
        return self.loss(student_logits, teacher_logits, **settings)

    def sides(self, student: ModelOutput, signal: TeacherSignal) -> tuple[Tensor, Tensor]:
        """What is compared, as logits over the same outcomes.

        Raises:
            UserError: if the vocabularies differ in size, or what is wrapped around the loss needs
                more than k stored tokens.
        """
        if signal.sparse is None:
            return self.dense_sides(student, signal)
        self.refuse_changes()
        return signal.sparse.buckets(student.logits)

    @classmethod
    def refuse_stored(
        cls, name: str, settings: Mapping[str, Any], teacher: Mapping[str, Any]
    ) -> None:
        """Refuses what changes the teacher's distribution, of which single tokens are stored.

        Raises:
            UserError: if there is a temperature or a transform.
        """
        own = settings.get("loss", {}).get("temperature", 1)
        changes = {
            f"{name}.temperature": settings.get("temperature"),
            f"{name}.transform": settings.get("transform"),
            f"{name}.loss.temperature": None if own == 1 else own,
        }
        for setting, value in changes.items():
            if value is not None:
                shown = value["_target_"] if isinstance(value, Mapping) else value
                raise UserError(
                    f"{setting}={shown}: a cached teacher stores single tokens at temperature 1, "
                    f"and nothing else can be made of them: leave out the wrapper or the number "
                    f"that sets it, or set teacher=live"
                )

    def refuse_changes(self) -> None:
        """Refuses what changes the teacher's distribution, where single tokens of it are stored.

        Raises:
            UserError: if there is a temperature or a transform.
        """
        if self.temperature is not None or self.transform is not None or self.own_temperature != 1:
            raise UserError(
                "the teacher's k stored tokens are known at temperature 1 only: a temperature or "
                "a transform of the logits needs teacher=live"
            )

    def dense_sides(
        self, student: ModelOutput, signal: TeacherSignal
    ) -> tuple[Float[Tensor, "batch time vocab"], Float[Tensor, "batch time teacher_vocab"]]:
        """Both sides' logits over the vocabulary.

        Raises:
            UserError: if the vocabularies differ in size.
        """
        ours, theirs = student.logits, signal.logits
        if not self.compares_vocabularies:
            refuse_other_vocabulary(ours, theirs)
        return ours, theirs

    @property
    def own_temperature(self) -> float:
        """The temperature that the loss was made with."""
        parameter = inspect.signature(self.loss).parameters.get("temperature")
        if parameter is None or parameter.default is inspect.Parameter.empty:
            return 1.0
        return float(parameter.default)


class VocabularyTerm(DivergenceTerm):
    """A divergence that needs every token of the vocabulary by itself."""

    asks = frozenset({Gives.VOCABULARY})

    def sides(self, student: ModelOutput, signal: TeacherSignal) -> tuple[Tensor, Tensor]:
        """Both sides' logits over the vocabulary.

        Raises:
            UserError: if the teacher's signal holds k tokens alone.
        """
        if signal.sparse is not None:
            raise UserError(
                f"{getattr(self.loss, 'func', self.loss).__name__} looks at single tokens of the "
                f"whole vocabulary, and a cached teacher knows only its k largest: set "
                f"teacher=live, or use a divergence that merges the rest, such as loss=forward_kl"
            )
        return self.dense_sides(student, signal)


class CrossVocabularyTerm(VocabularyTerm):
    """A divergence of two vocabularies that may differ, also in size.

    Where tokenizers differ, the teacher has its own tokens, and no other is made of them.
    """

    asks = frozenset({Gives.VOCABULARY, Gives.OWN_VOCABULARY})
    compares_vocabularies = True

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The divergence at every target position; 0 where the two sides read different texts."""
        if signal.alike is None:
            return super().per_token(student, signal, batch)
        where = signal.alike.mask
        rows = where.nonzero()[:, 0]
        kept = Batch(
            source_ids=batch.source_ids[rows],
            source_mask=batch.source_mask[rows],
            decoder_input_ids=batch.decoder_input_ids[where][:, None],
            labels=batch.labels[where][:, None],
            example_ids=batch.example_ids[rows],
            authors=batch.authors[rows],
        )
        ours = ModelOutput(student.logits[where][:, None], nn.Identity())
        theirs = ModelOutput(signal.alike.output.logits[:, None], nn.Identity())
        values = super().per_token(ours, TeacherSignal(theirs), kept)
        spread = torch.zeros(where.shape, dtype=values.dtype, device=values.device)
        return spread.index_put((where,), values[:, 0])


class LabelledDivergenceTerm(VocabularyTerm):
    """A divergence that treats the label apart: `loss(student, teacher, labels)`."""

    def compare(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
        **settings: float,
    ) -> Float[Tensor, "batch time"]:
        """The loss of the two sides and the labels."""
        labels = batch.labels.clamp(min=0)  # what is ignored has no token of its own
        return self.loss(student_logits, teacher_logits, labels, **settings)
