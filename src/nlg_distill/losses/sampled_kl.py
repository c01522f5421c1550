"""Forward KL from a few tokens that were sampled from the teacher.

Anshumann et al., "Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs" (random
sampling distillation), 2025, https://arxiv.org/abs/2503.16870, the part "Random Sampling Knowledge
Distillation".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nlg_distill.data.batch import Batch
from nlg_distill.distributions import log_probs, tau_squared
from nlg_distill.errors import UserError
from nlg_distill.losses.divergence import Transform, VocabularyTerm
from nlg_distill.losses.term import Schedule
from nlg_distill.losses.token_weights import TokenWeights
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import Gives, TeacherSignal


@dataclass(frozen=True)
class Samples:
    """Tokens sampled from the teacher at each position; a token may be there more than once.

    `log_probs` are the teacher's own, at the temperature of the loss. `weights` are the importance
    weights: the teacher's probability over that of the distribution that was sampled from, over
    the number of samples. Drawn from the teacher itself, each is 1/n.
    """

    token_ids: Int[Tensor, "*tokens samples"]
    log_probs: Float[Tensor, "*tokens samples"]
    weights: Float[Tensor, "*tokens samples"]

    @classmethod
    def of(
        cls, teacher_logits: Float[Tensor, "*tokens vocab"], count: int, temperature: float = 1.0
    ) -> "Samples":
        """`count` tokens per position, drawn from the teacher by torch's global seed."""
        teacher = log_probs(teacher_logits, temperature).detach()
        drawn = torch.multinomial(teacher.exp().flatten(0, -2), count, replacement=True)
        ids = drawn.view(*teacher.shape[:-1], count)
        known = teacher.gather(-1, ids)
        return cls(ids, known, torch.full_like(known, 1 / count))


def sampled_kl(
    student_logits: Float[Tensor, "*tokens vocab"],
    samples: Samples,
    *,
    temperature: float = 1.0,
    scale_by_temperature: bool = True,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token estimate of $\tau^2 \, \mathrm{KL}(p \,\|\, q)$, in nats.

    $\tau^2 \sum_i w_i (\log p(x_i) - \log q(x_i))$ over samples $x_i$ with importance weights
    $w_i$, at $\tau$. Value and gradient are those of forward KL in expectation, whatever the
    number of samples; a top-k teacher's are not. A single estimate may be negative, and its
    gradient is not zero where both sides are equal.

    Deviation: the paper takes the cross-entropy, which is larger by the teacher's entropy and has
    the same gradient.

    Args:
        student_logits: unnormalised scores of the student; gradients flow through these.
        samples: from the teacher, at the same temperature.
        temperature: $\tau > 0$. Not the sampling temperature used for generation.
        scale_by_temperature: multiply by $\tau^2$.

    Returns:
        One estimate for each token, not reduced and not masked.

    Raises:
        UserError: if `temperature` is not positive.
    """
    student = log_probs(student_logits, temperature).gather(-1, samples.token_ids)
    value = (samples.weights * (samples.log_probs - student)).sum(dim=-1)
    return tau_squared(temperature, scale_by_temperature) * value


class SampledTerm(VocabularyTerm):
    """`sampled_kl` of tokens drawn from the teacher: anew at every step, or those of a cache."""

    asks = frozenset({Gives.VOCABULARY, Gives.SAMPLES})

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        num_samples: int,
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
        temperature: Schedule | None = None,
        transform: Transform | None = None,
        token_weights: TokenWeights | None = None,
    ) -> None:
        """`num_samples` tokens per position, at least 1 and as many as a cache has, if it is one.

        The rest is as in `DivergenceTerm`.

        Raises:
            UserError: if it is less.
        """
        super().__init__(
            loss=loss,
            weight=weight,
            anneal=anneal,
            written_by=written_by,
            temperature=temperature,
            transform=transform,
            token_weights=token_weights,
        )
        if num_samples < 1:
            raise UserError(f"num_samples must be at least 1, got {num_samples}")
        self.num_samples = num_samples

    @classmethod
    def refuse_stored(
        cls, name: str, settings: Mapping[str, Any], teacher: Mapping[str, Any]
    ) -> None:
        """Also refuses another number of draws.

        Raises:
            UserError: if it is set.
        """
        super().refuse_stored(name, settings, teacher)
        if settings["num_samples"] != teacher["k"]:
            raise UserError(
                f"{name}.num_samples={settings['num_samples']}, but the teacher stores "
                f"teacher.k={teacher['k']} draws of each position: give both the same number"
            )

    def per_token(
        self, student: ModelOutput, signal: TeacherSignal, batch: Batch
    ) -> Float[Tensor, "batch time"]:
        """The estimate at every target position.

        Raises:
            UserError: if the teacher stored another number of draws, or something asks for more
                of its distribution than they tell.
        """
        stored = signal.samples
        if stored is None:
            return super().per_token(student, signal, batch)
        self.refuse_changes()
        if stored.log_probs.shape[-1] != self.num_samples:
            raise UserError(
                f"num_samples={self.num_samples}, but the teacher stored "
                f"{stored.log_probs.shape[-1]} draws of each position: give both the same number"
            )
        weights = torch.full_like(stored.log_probs, 1 / self.num_samples)
        values = self.loss(student.logits, Samples(stored.token_ids, stored.log_probs, weights))
        return self.weighted(values, student, signal, batch)

    def samples(
        self, teacher_logits: Float[Tensor, "batch time vocab"], temperature: float
    ) -> Samples:
        """What stands for the teacher at each position."""
        return Samples.of(teacher_logits, self.num_samples, temperature)

    def compare(
        self,
        student_logits: Float[Tensor, "batch time outcomes"],
        teacher_logits: Float[Tensor, "batch time teacher_outcomes"],
        batch: Batch,
        **settings: float,
    ) -> Float[Tensor, "batch time"]:
        """The estimate at every target position."""
        temperature = settings.get("temperature", self.own_temperature)
        return self.loss(student_logits, self.samples(teacher_logits, temperature), **settings)
