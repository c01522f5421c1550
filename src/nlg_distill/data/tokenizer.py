"""SentencePiece tokenizers.

Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer", 2018,
https://arxiv.org/abs/1808.06226.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from nlg_distill.data.batch import SpecialIds
from nlg_distill.errors import UserError

SPECIAL = SpecialIds(pad=0, begin=2, end=3)
UNKNOWN_ID = 1


class Tokenizer:
    """Texts to ids and back, without special tokens."""

    def __init__(self, model: bytes) -> None:
        """`model` is a serialized SentencePiece model made by `train_sentencepiece`."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.special = SPECIAL
        self.vocab_size: int = self._processor.vocab_size()

    @property
    def pieces(self) -> list[str]:
        """The vocabulary, in the order of the ids."""
        pieces: list[str] = self._processor.id_to_piece(list(range(self.vocab_size)))
        return pieces

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """The tokenizer whose model is stored at `path`."""
        return cls(path.read_bytes())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        ids: list[list[int]] = self._processor.encode(list(texts))
        return ids

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids."""
        return [self._processor.decode(list(sequence)) for sequence in ids]


def train_sentencepiece(
    texts: Sequence[str], *, vocab_size: int, model_type: str, character_coverage: float
) -> bytes:
    """A serialized SentencePiece model fitted to `texts`.

    Args:
        texts: the training split alone.
        vocab_size: number of pieces, the four special ones included.
        model_type: `unigram` or `bpe`.
        character_coverage: share of characters that get a piece of their own, in (0, 1].

    Raises:
        UserError: if the texts are too few for so large a vocabulary.
    """
    if model_type not in ("unigram", "bpe"):
        raise UserError(f"data.tokenizer.model_type must be unigram or bpe, got {model_type!r}")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            character_coverage=character_coverage,
            pad_id=SPECIAL.pad,
            unk_id=UNKNOWN_ID,
            bos_id=SPECIAL.begin,
            eos_id=SPECIAL.end,
            num_threads=1,  # the result depends on the number of threads
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"SentencePiece cannot make data.tokenizer.vocab_size={vocab_size} pieces "
            f"(model_type={model_type}) out of {len(texts)} texts: {error}"
        ) from error
    return model.getvalue()
