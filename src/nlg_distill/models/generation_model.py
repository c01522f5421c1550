"""What every model offers: all target positions at once, or one token at a time."""

import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Bool, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.models.attention import Attention
from nlg_distill.models.output import ModelOutput
from nlg_distill.models.widths import Axis


class GenerationModel(nn.Module, ABC):
    """A model that reads a source and writes a target."""

    LAYER: ClassVar[re.Pattern[str]]
    """Finds the number of the layer in the name of a parameter that belongs to one."""

    @property
    def num_heads(self) -> int | None:
        """Heads of its attentions, which no parameter's shape tells; None where there are none."""
        return next((m.num_heads for m in self.modules() if isinstance(m, Attention)), None)

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """What the dimensions of a parameter count; None for the vocabulary.

        Raises:
            UserError: if the model does not say.
        """
        raise UserError(
            f"{type(self).__name__} does not say what the dimensions of {name} count, so that no "
            f"narrower model can be cut out of it: start the student otherwise, as with init=random"
        )

    @abstractmethod
    def forward(self, batch: Batch) -> ModelOutput:
        """Hidden states for all target positions of a batch."""

    @abstractmethod
    def start(
        self,
        source_ids: Int[Tensor, "sources source"],
        source_mask: Bool[Tensor, "sources source"],
    ) -> Any:
        """Reads the sources; the state holds one hypothesis per source."""

    @abstractmethod
    def step(self, token_ids: Int[Tensor, "sources beam"], state: Any) -> tuple[ModelOutput, Any]:
        """Reads one token per hypothesis and gives the hidden states that predict the next."""
