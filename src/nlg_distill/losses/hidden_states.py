"""The term that compares hidden states, of unequal widths through projections trained along."""

from collections.abc import Callable, Mapping

from jaxtyping import Bool, Float
from torch import Tensor, nn

from nlg_distill.losses.features import FeatureTerm
from nlg_distill.losses.term import Schedule


class HiddenStateTerm(FeatureTerm):
    """A distance of hidden states; where widths differ, each layer has its own trained projection.

    States of equal width are compared as they are, as in DistilBERT. The projections are parameters
    of the term: the optimizer trains them, the checkpoint keeps them, and the finished student goes
    without. Like the models' own layers they are in half precision under autocast; the distance is
    in float32.
    """

    kind = "hidden_states"
    at_source = ("encoder",)

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        layers: Mapping[str, str],
        student_size: int,
        teacher_size: int,
        weight: float = 1.0,
        anneal: Schedule | None = None,
        written_by: str | None = None,
    ) -> None:
        """Makes one projection per layer, orthogonal at first, so that it keeps lengths; or none.

        Args:
            loss: `hidden_mse` or `hidden_cosine`.
            layers: see `FeatureTerm`.
            student_size: width of the student's states.
            teacher_size: width of the teacher's states.
            weight: see `Term`.
            anneal: see `Term`.
            written_by: see `Term`.
        """
        super().__init__(
            loss=loss, layers=layers, weight=weight, anneal=anneal, written_by=written_by
        )
        self.projections = nn.ModuleList(_bridge(student_size, teacher_size) for _ in self.layers)

    def compare(
        self,
        index: int,
        student: Tensor,
        teacher: Tensor,
        mask: Bool[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """The distance of the states, the student's projected to the teacher's width."""
        return self.loss(self.projections[index](student), teacher)


def _bridge(student_size: int, teacher_size: int) -> nn.Module:
    """From states of one width to the other."""
    if student_size == teacher_size:
        return nn.Identity()
    projection = nn.Linear(student_size, teacher_size, bias=False)
    nn.init.orthogonal_(projection.weight)
    return projection
