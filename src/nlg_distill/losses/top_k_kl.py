"""Divergences over the teacher's k largest tokens and one bucket for all others."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.losses.divergence import DivergenceTerm
from nlg_distill.losses.term import Schedule
from nlg_distill.losses.token_weights import TokenWeights
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import SparseDistribution, TeacherSignal


class TopKTerm(DivergenceTerm):
    """Any such divergence over the teacher's k largest tokens and one bucket for the others."""

    def __init__(
        self,
        *,
        k: int,
        loss: Callable[..., Tensor],
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
        token_weights: TokenWeights | None = None,
    ) -> None:
        """`k` tokens of a dense signal are kept; a sparse one must hold as many.

        Without the last bucket, divergences of the student's own distribution would fall to zero by
        emptying the k tokens. It is that of temperature 1, so no other is taken.

        Raises:
            UserError: if `k` is not positive, or the loss has another temperature.
        """
        super().__init__(
            loss=loss,
            weight=weight,
            anneal=anneal,
            written_by=written_by,
            token_weights=token_weights,
        )
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        if self.own_temperature != 1:
            raise UserError(
                f"k tokens and the mass of the others are compared at temperature 1, got "
                f"loss.temperature={self.own_temperature}: leave it out, or take a loss of the "
                f"whole vocabulary, such as loss=[nll,forward_kl]"
            )
        self.k = self.fewest_tokens = k

    @classmethod
    def refuse_stored(
        cls, name: str, settings: Mapping[str, Any], teacher: Mapping[str, Any]
    ) -> None:
        """Also refuses more tokens than are stored.

        Raises:
            UserError: if `k` is more than the teacher's.
        """
        super().refuse_stored(name, settings, teacher)
        if settings["k"] > teacher["k"]:
            raise UserError(
                f"{name}.k={settings['k']} tokens are asked for, but the teacher stores "
                f"teacher.k={teacher['k']}: raise teacher.k"
            )

    def sides(self, student: ModelOutput, signal: TeacherSignal) -> tuple[Tensor, Tensor]:
        """Both sides over k + 1 outcomes.

        Raises:
            UserError: if a sparse signal holds fewer than `k` tokens.
        """
        stored = signal.sparse or SparseDistribution.of(
            self.dense_sides(student, signal)[1], self.k
        )
        return super().sides(student, TeacherSignal(sparse=stored.largest(self.k)))
