"""The term that compares hidden states through projections that are trained along."""

from collections.abc import Callable, Mapping

from jaxtyping import Bool, Float
from torch import Tensor, nn

from nlg_distill.losses.features import FeatureTerm
from nlg_distill.losses.term import Schedule


class HiddenStateTerm(FeatureTerm):
    """A distance of hidden states; each layer of the student has its own trained projection.

    The projections are parameters of the term: the optimizer trains them, the checkpoint keeps
    them, and the finished student goes without. Like the models' own layers they are in half
    precision under autocast; the distance is in float32.
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
        """Makes one projection per layer, orthogonal at first, so that it keeps lengths.

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
        projections = [nn.Linear(student_size, teacher_size, bias=False) for _ in self.layers]
        for projection in projections:
            nn.init.orthogonal_(projection.weight)
        self.projections = nn.ModuleList(projections)

    def compare(
        self,
        index: int,
        student: Tensor,
        teacher: Tensor,
        mask: Bool[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """The distance of the projected states."""
        return self.loss(self.projections[index](student), teacher)
