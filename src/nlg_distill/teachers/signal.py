"""What a teacher says about a batch, whichever source it comes from."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from nlg_distill.errors import UserError
from nlg_distill.models.output import ModelOutput


@dataclass(frozen=True)
class TeacherSignal:
    """The teacher's distribution at every target position, if it gives one."""

    output: ModelOutput | None = None

    @property
    def logits(self) -> Float[Tensor, "batch time vocab"]:
        """The teacher's unnormalised scores.

        Raises:
            UserError: if this teacher gives nothing but text.
        """
        if self.output is None:
            raise UserError(
                "this loss compares distributions, but the teacher gives none here: set "
                "teacher=live, or train on text alone with loss=nll"
            )
        return self.output.logits
