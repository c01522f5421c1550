"""Tokenizers: what all of them offer, and SentencePiece.

Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer", 2018,
https://arxiv.org/abs/1808.06226.
"""

import io
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from nlg_distill.data.batch import SpecialIds
from nlg_distill.data.spans import Place
from nlg_distill.errors import UserError

SPECIAL = SpecialIds(pad=0, begin=2, end=3)
UNKNOWN_ID = 1
SPACE = "\u2581"
FILENAME = "sentencepiece.model"


class Tokenizer(ABC):
    """Texts to ids and back. What a batch adds, its begin and end, is not among the ids."""

    special: SpecialIds
    vocab_size: int
    unknown_id: int | None
    """Of the token that stands for any text which no other token spells."""

    @property
    @abstractmethod
    def pieces(self) -> list[str]:
        """The vocabulary, in the order of the ids."""

    @abstractmethod
    def encode_sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each source."""

    @abstractmethod
    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each target."""

    @abstractmethod
    def target_places(self, texts: Sequence[str]) -> list[list[Place]]:
        """Where in its text each token of a target stands, as `encode_targets` has them.

        Raises:
            UserError: if the tokenizer cannot tell.
        """

    @abstractmethod
    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids."""


class TokenizerMaker(ABC):
    """The settings of a tokenizer: makes its files, and loads them."""

    special: SpecialIds
    vocab_size: int

    @abstractmethod
    def make(self, texts: Sequence[str], folder: Path) -> None:
        """Writes the tokenizer's files to `folder`; `texts` are those of the training split."""

    @abstractmethod
    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer whose files `make` wrote to `folder`, or which were copied there."""

    @abstractmethod
    def refuse_without_places(self) -> None:
        """Raises a UserError where its tokenizer cannot tell where tokens stand in a text."""

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What identifies files that the settings name, and the settings do not say."""
        return {}


class Shared:
    """Stands for a teacher's tokenizer where it is the student's."""


class SentencePieceTokenizer(Tokenizer):
    """One vocabulary for both sides, without special tokens in a text."""

    def __init__(self, model: bytes) -> None:
        """`model` is a serialized SentencePiece model made by `SentencePiece`."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.special, self.unknown_id = SPECIAL, UNKNOWN_ID
        self.vocab_size: int = self._processor.vocab_size()

    @property
    def pieces(self) -> list[str]:
        """The vocabulary, in the order of the ids."""
        pieces: list[str] = self._processor.id_to_piece(list(range(self.vocab_size)))
        return pieces

    def encode_sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each source."""
        ids: list[list[int]] = self._processor.encode(list(texts))
        return ids

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each target, encoded as sources are."""
        return self.encode_sources(texts)

    def target_places(self, texts: Sequence[str]) -> list[list[Place]]:
        """Where in its text, before its normalisation, each token of a target stands."""
        return [self._places(text) for text in texts]

    def _places(self, text: str) -> list[Place]:
        """SentencePiece counts the bytes of UTF-8.

        Where several pieces spell what one character is normalised to, it gives the character to
        the last of them alone; here it belongs to each.
        """
        characters = [i for i, character in enumerate(text) for _ in character.encode()]
        characters.append(len(text))
        places: list[Place] = []
        for piece in reversed(self._processor.encode(text, return_type="proto").pieces):
            begin, end = characters[piece.begin], characters[piece.end]
            if places and _letters(piece.piece) > _letters(
                unicodedata.normalize("NFKC", piece.surface)
            ):
                end = places[-1][1]
            places.append((begin, end))
        return places[::-1]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids."""
        return [self._processor.decode(list(sequence)) for sequence in ids]


def _letters(text: str) -> int:
    """Characters that are no space, nor what stands for one in a piece."""
    return sum(not character.isspace() for character in text.replace(SPACE, " "))


class SentencePiece(TokenizerMaker):
    """A SentencePiece model, fitted to the training split."""

    special = SPECIAL

    def __init__(self, *, vocab_size: int, model_type: str, character_coverage: float) -> None:
        """Keeps the settings.

        Args:
            vocab_size: number of pieces, the four special ones included.
            model_type: `unigram` or `bpe`.
            character_coverage: share of characters that get a piece of their own, in (0, 1].

        Raises:
            UserError: if `model_type` is another.
        """
        if model_type not in ("unigram", "bpe"):
            raise UserError(f"model_type must be unigram or bpe, got {model_type!r}")
        self.vocab_size, self.model_type = vocab_size, model_type
        self.character_coverage = character_coverage

    def make(self, texts: Sequence[str], folder: Path) -> None:
        """Fits the model to `texts`.

        Raises:
            UserError: if the texts are too few for so large a vocabulary.
        """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                vocab_size=self.vocab_size,
                model_type=self.model_type,
                character_coverage=self.character_coverage,
                pad_id=SPECIAL.pad,
                unk_id=UNKNOWN_ID,
                bos_id=SPECIAL.begin,
                eos_id=SPECIAL.end,
                num_threads=1,  # the result depends on the number of threads
                minloglevel=2,
            )
        except RuntimeError as error:
            said = str(error)
            most = re.search(r"value <= (\d+)", said)
            fewest = re.search(r"required_chars. \d+ vs (\d+)", said)
            remedy = f" ({said})"
            if most:
                remedy = f": set vocab_size to at most {most[1]}"
            elif fewest:
                remedy = (
                    f", whose characters alone are {fewest[1]}: set vocab_size to more, or "
                    f"character_coverage to less than {self.character_coverage}"
                )
            raise UserError(
                f"SentencePiece cannot make a tokenizer of vocab_size={self.vocab_size} "
                f"(model_type={self.model_type}) out of {len(texts)} texts{remedy}"
            ) from error
        (folder / FILENAME).write_bytes(model.getvalue())

    def refuse_without_places(self) -> None:
        """It always can."""

    def load(self, folder: Path) -> SentencePieceTokenizer:
        """The model in `folder`."""
        return SentencePieceTokenizer((folder / FILENAME).read_bytes())
