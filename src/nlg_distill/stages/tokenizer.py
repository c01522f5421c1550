"""Stage: a SentencePiece model, fitted to the training split alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
