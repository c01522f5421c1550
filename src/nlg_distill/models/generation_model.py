"""What every model offers: all target positions at once, or one token at a time."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from nlg_distill.data.batch import Batch, Example, SpecialIds
from nlg_distill.errors import UserError
from nlg_distill.models.attention import Attention
from nlg_distill.models.output import ModelOutput
from nlg_distill.models.widths import Axis

WEIGHTS = "model.safetensors"
UNBOUNDED = 2**62
"""The room of a model that any text fits in."""


class GenerationModel(nn.Module, ABC):
    """A model that reads a source and writes a target."""

    LAYER: ClassVar[re.Pattern[str]]
    """Finds first the number of the layer in the name of a parameter that belongs to one."""

    pretrained: bool = False
    """Whether its parameters are a checkpoint's."""
    adapted: bool = False
    """Whether adapters alone are trained."""

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

    def room(self, source_mask: Bool[Tensor, "sources source"]) -> Int[Tensor, " sources"]:
        """How many target tokens, the end included, the model has positions for, by source."""
        return torch.full_like(source_mask[:, 0], UNBOUNDED, dtype=torch.long)

    def refuse_other_tokens(self, special: SpecialIds) -> None:
        """Raises a UserError where the model was trained with other special tokens."""

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Raises a UserError where the model has not as many positions as an example needs."""

    def save(self, folder: Path) -> None:
        """Writes the parameters to `folder`, which has what `load` needs beside the settings."""
        save_model(self, str(folder / WEIGHTS))

    @classmethod
    def load(cls, settings: Mapping[str, Any], folder: Path, vocab_size: int) -> "GenerationModel":
        """The model that `save` wrote to `folder`; `settings` are its config."""
        given = {name: value for name, value in settings.items() if name[0] != "_"}
        model = cls(vocab_size, **given)
        load_model(model, str(folder / WEIGHTS))
        return model

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What identifies files that the settings name, and the settings do not say."""
        return {}
