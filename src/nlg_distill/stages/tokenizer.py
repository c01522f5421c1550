"""Stage: a SentencePiece model, fitted to the training split alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_distill.data.batch import Example
from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import Tokenizer, train_sentencepiece
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split

FILENAME = "sentencepiece.model"


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Fits one model to both sides."""
    pairs = load_split(parents["corpus"], "train")
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    (out / FILENAME).write_bytes(train_sentencepiece(texts, **config["tokenizer"]))


def load_tokenizer(artifact: Path) -> Tokenizer:
    """The tokenizer of a tokenizer artifact, or of a trained model's."""
    return Tokenizer.load(artifact / FILENAME)


def encode_pairs(pairs: Sequence[Pair], tokenizer: Tokenizer) -> list[Example]:
    """Each pair as token ids, numbered in their order."""
    sources = tokenizer.encode([pair.source for pair in pairs])
    targets = tokenizer.encode([pair.target for pair in pairs])
    return [Example(i, s, t) for i, (s, t) in enumerate(zip(sources, targets, strict=True))]
