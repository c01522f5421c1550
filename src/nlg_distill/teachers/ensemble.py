"""Several teachers as one.

The mean of logits is the geometric mean of the probabilities, renormalised: a token that one
teacher rules out is ruled out. The mean of probabilities keeps it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Batch, Example
from nlg_distill.decoding import DecoderState
from nlg_distill.distributions import LOWEST, log_probs
from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel, ModelOutput
from nlg_distill.modules.teacher import TeacherModule
from nlg_distill.teachers.signal import Gives, TeacherSignal

Average = Literal["probabilities", "logits"]


def mean_of_probabilities(
    log_distributions: Float[Tensor, "teachers *tokens vocab"], weights: Float[Tensor, " teachers"]
) -> Float[Tensor, "*tokens vocab"]:
    r"""$\log \sum_i w_i p_i$, made in log space, in nats; `weights` sum to 1."""
    weighted = log_distributions + _beside(weights, log_distributions).log()
    return weighted.logsumexp(dim=0).clamp(min=LOWEST)


def mean_of_logits(
    log_distributions: Float[Tensor, "teachers *tokens vocab"], weights: Float[Tensor, " teachers"]
) -> Float[Tensor, "*tokens vocab"]:
    r"""$\log$ of $\prod_i p_i^{w_i}$, renormalised, in nats; `weights` sum to 1.

    The same for logits and for log-probabilities, which differ by a constant at each position.
    """
    # Not a matrix product, which autocast would make in half precision.
    return log_probs((_beside(weights, log_distributions) * log_distributions).sum(dim=0))


def _beside(
    weights: Float[Tensor, " teachers"], log_distributions: Float[Tensor, "teachers *tokens vocab"]
) -> Float[Tensor, "teachers *ones 1"]:
    """The weights on the same device, with an axis for each of the distributions'."""
    return weights.to(log_distributions).view(-1, *[1] * (log_distributions.dim() - 1))


AVERAGES = {"probabilities": mean_of_probabilities, "logits": mean_of_logits}


@dataclass(frozen=True)
class EnsembleState:
    """What each model carries from one step to the next."""

    states: Sequence[DecoderState]

    def reorder(self, parents: Int[Tensor, "sources beam"]) -> "EnsembleState":
        """Hypothesis `b` of source `s` continues from hypothesis `parents[s, b]`."""
        return EnsembleState([state.reorder(parents) for state in self.states])

    def keep(self, sources: Int[Tensor, " kept"]) -> "EnsembleState":
        """The state of these sources alone."""
        return EnsembleState([state.keep(sources) for state in self.states])


class EnsembleModel(GenerationModel):
    """Models of one vocabulary, averaged at every position; its logits are log-probabilities."""

    def __init__(
        self, models: Sequence[GenerationModel], average: Average, weights: Float[Tensor, " models"]
    ) -> None:
        """`weights` sum to 1."""
        super().__init__()
        self.models = nn.ModuleList(models)
        self.average, self.weights = AVERAGES[average], weights

    def forward(self, batch: Batch) -> ModelOutput:
        """The average at all target positions of a batch."""
        return self._mean([model(batch) for model in self.models])

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """That of the model with the least."""
        return torch.stack([m.room(source_mask) for m in self.models]).amin(dim=0)  # type: ignore[operator]

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """As each model does."""
        for model in self.models:
            model.refuse_too_long(examples)  # type: ignore[operator]

    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> EnsembleState:
        """Encodes the sources with each model."""
        return EnsembleState([m.start(source_ids, source_mask) for m in self.models])  # type: ignore[operator]

    def step(
        self, token_ids: Int[Tensor, "sources beam"], state: EnsembleState
    ) -> tuple[ModelOutput, EnsembleState]:
        """Each model reads one token per hypothesis; the average predicts the next."""
        steps = [
            model.step(token_ids, own)  # type: ignore[operator]
            for model, own in zip(self.models, state.states, strict=True)
        ]
        return self._mean([output for output, _ in steps]), EnsembleState([s for _, s in steps])

    def _mean(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        distributions = torch.stack([log_probs(output.logits) for output in outputs])
        return ModelOutput(self.average(distributions, self.weights), nn.Identity())


class EnsembleTeacher:
    """Runs several teachers on every batch and averages their distributions. It writes, too."""

    needs_model = True

    def __init__(
        self,
        *teachers: TeacherModule,
        seeds: Sequence[int],
        average: Average = "probabilities",
        weights: Sequence[float] | None = None,
    ) -> None:
        """Freezes the teachers.

        Args:
            teachers: one for each of `seeds`.
            seeds: seeds of the trainings, all with the config of the one teacher.
            average: `probabilities` or `logits`.
            weights: of the teachers, positive; divided by their sum. Equal if not given.

        Raises:
            UserError: if seeds and weights do not fit together.
        """
        self.gives({"seeds": seeds, "weights": weights})
        assert len(teachers) == len(seeds)
        parts = torch.tensor(list(weights or [1.0] * len(seeds)))
        models = [teacher.model for teacher in teachers]
        self._model = EnsembleModel(models, average, parts / parts.sum())
        self._model.eval().requires_grad_(False)

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """Distributions and text; no single model's inner states stand behind them."""
        seeds, weights = list(settings["seeds"]), settings.get("weights")
        if not seeds or len(set(seeds)) < len(seeds):
            raise UserError(f"teacher.seeds must be different numbers, got {seeds}")
        if weights is not None and (len(weights) != len(seeds) or min(weights) <= 0):
            raise UserError(
                f"teacher.weights must be one positive number for each of teacher.seeds={seeds}, "
                f"got {list(weights)}"
            )
        return frozenset(Gives) - {Gives.SAMPLES, Gives.FEATURES}

    @property
    def model(self) -> GenerationModel:
        """The ensemble as one model."""
        return self._model

    def to(self, device: torch.device) -> None:
        """Moves the teachers to where the student trains."""
        self._model.to(device)

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """As each teacher's model does."""
        self._model.refuse_too_long(examples)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherSignal:
        """The mean distribution for this batch, without gradient."""
        return TeacherSignal(log_probs=self._model(batch).logits)
