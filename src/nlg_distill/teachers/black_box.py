"""A teacher outside this project, which gives one text for a source and tells nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar


class BlackBox(ABC):
    """Writes a text for every source, without a model of ours.

    What it wrote is kept like the text of a trained teacher, under a key of which `content` is a
    part.
    """

    needs_model: ClassVar[bool] = False
    answers_training_alone: ClassVar[bool] = False
    """Whether it has no text for other sources than those of training."""

    @classmethod
    @abstractmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What identifies the writer beside the settings of its config; nothing is written.

        Raises:
            UserError: if a setting names what is not there.
        """

    @abstractmethod
    def write(self, sources: Sequence[str], begin: int) -> Iterator[str]:
        """The texts for `sources[begin:]`, in their order: those before are written already."""
