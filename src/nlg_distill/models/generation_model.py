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
from nlg_distill.models.widths import Axis, scaled

WEIGHTS = "model.safetensors"
UNBOUNDED = 2**62
"""The room of a model that any text fits in."""
SHORTEN = (
    "give shorter ones; of a corpus, data.corpus.max_words cuts texts where it is a setting, and "
    "data.cleaning.max_words with data.cleaning.drop_bad_lines=true leaves long ones out"
)
"""What to do where texts are longer than a model reads."""
WIDTHS = ("hidden_size", "embedding_size", "feed_forward_size", "num_heads")
"""Settings of models of ours that a narrower one has less of."""


class GenerationModel(nn.Module, ABC):
    """A model that reads a source and writes a target."""

    LAYER: ClassVar[re.Pattern[str]]
    """Finds first the number of the layer in the name of a parameter that belongs to one."""
    bounded: bool = False
    """Whether a text may need more positions than it has."""
    pretrained: bool = False
    """Whether its parameters are a checkpoint's."""
    adapted: bool = False
    """Whether adapters alone are trained."""

    @property
    def architecture(self) -> str:
        """What two models share whose parameters mean the same."""
        return type(self).__name__

    @property
    def heads(self) -> dict[str, int]:
        """Heads of its attentions, which no parameter's shape tells, by their setting."""
        found = next((m.num_heads for m in self.modules() if isinstance(m, Attention)), None)
        return {} if found is None else {"num_heads": found}

    @property
    def computed(self) -> set[str]:
        """Names of parameters that follow from the config, and are not learned."""
        return set()

    @property
    def token_tables(self) -> list[str]:
        """Names of the parameters that are embeddings: a row for each token."""
        tables = ("embedding.weight", "source_embedding.weight", "target_embedding.weight")
        return [name for name in self.state_dict() if name in tables]

    @property
    def logit_weight(self) -> nn.Parameter:
        """The matrix that makes logits of hidden states; an embedding's where both are tied."""
        weight: nn.Parameter = self.projection.weight  # type: ignore[union-attr, assignment]
        return weight

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """What the dimensions of a parameter count; None where that is not cut, as a vocabulary.

        Raises:
            UserError: if the model does not say.
        """
        raise UserError(
            f"{type(self).__name__} does not say what the dimensions of {name} count, so that no "
            f"narrower model can be cut out of it: start the student otherwise, as with init=random"
        )

    def merged(self) -> "GenerationModel":
        """The model as it is stored, without adapters; itself where it has none."""
        return self

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

    def save(self, folder: Path, *, first: int | None = None) -> None:
        """Writes the parameters to `folder`, which has what `load` needs beside the settings.

        `first` is the token that every text begins with, if any, for programs that write with what
        is in `folder` alone.
        """
        save_model(self, str(folder / WEIGHTS))

    @classmethod
    def load(cls, settings: Mapping[str, Any], folder: Path, vocab_size: int) -> "GenerationModel":
        """The model that `save` wrote to `folder`; `settings` are its config."""
        given = {name: value for name, value in settings.items() if name[0] != "_"}
        model = cls(vocab_size, **given)
        load_model(model, str(folder / WEIGHTS))
        return model

    @classmethod
    def share(cls, settings: Mapping[str, Any], *, depth: float, width: float) -> dict[str, Any]:
        """The config of a model with a share of the layers and of the widths that settings say.

        Raises:
            UserError: if a number of them is missing, or its share is not whole.
        """
        given = {"num_layers", "hidden_size"} | (set(WIDTHS) & set(settings))
        for name in sorted(given):
            if not isinstance(settings.get(name), int):
                raise UserError(
                    f"the teacher's {name} is {settings.get(name)!r}, of which there is no share: "
                    f"give it a number, or choose another model@student_model"
                )
        sizes = {"num_layers": scaled(settings["num_layers"], depth, "depth of num_layers")}
        for name in WIDTHS:
            if name in given:
                sizes[name] = scaled(settings[name], width, f"width of {name}")
        return {**settings, **sizes}

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What identifies files that the settings name, and the settings do not say."""
        return {}
