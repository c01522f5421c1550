"""Stage: a tokenizer, fitted to the training split alone or taken from a checkpoint."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import instantiate

from nlg_distill.data.batch import Example
from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import Tokenizer, TokenizerMaker
from nlg_distill.errors import UserError
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split

SETTINGS = "tokenizer.yaml"
OF_THE_STORE = {"config.yaml", "metadata.json"}


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Makes one tokenizer for both sides; its settings stand beside its files."""
    pairs = load_split(parents["corpus"], "train")
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    maker: TokenizerMaker = instantiate(config["tokenizer"])
    maker.make(texts, out)
    (out / SETTINGS).write_text(
        yaml.safe_dump(config["tokenizer"], allow_unicode=True), encoding="utf-8"
    )


def load_tokenizer(artifact: Path) -> Tokenizer:
    """The tokenizer of a tokenizer artifact, or of a trained model's.

    Raises:
        UserError: if there is none.
    """
    settings = artifact / SETTINGS
    if not settings.is_file():
        raise UserError(f"{artifact} has no {SETTINGS}: it holds no tokenizer of this version")
    maker: TokenizerMaker = instantiate(yaml.safe_load(settings.read_text(encoding="utf-8")))
    return maker.load(artifact)


def copy_tokenizer(artifact: Path, out: Path) -> None:
    """Puts a tokenizer's files and settings beside a model."""
    for file in artifact.iterdir():
        if file.is_file() and file.name not in OF_THE_STORE:
            shutil.copyfile(file, out / file.name)


def encode_pairs(pairs: Sequence[Pair], tokenizer: Tokenizer) -> list[Example]:
    """Each pair as token ids, numbered in their order."""
    sources = tokenizer.encode_sources([pair.source for pair in pairs])
    targets = tokenizer.encode_targets([pair.target for pair in pairs])
    return [Example(i, s, t) for i, (s, t) in enumerate(zip(sources, targets, strict=True))]
