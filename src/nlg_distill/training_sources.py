"""The training sources of a corpus as a text file, for a black box to answer."""

from collections.abc import Sequence
from pathlib import Path

from nlg_distill.config import check, compose
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.text_plan import corpus_stage
from nlg_distill.store import Store


def write_sources(file: Path, overrides: Sequence[str]) -> int:
    """Writes each training source on a line of its own, in their order, and gives their number.

    Line breaks inside a source become spaces. The corpus is made if it is not in the store.

    Args:
        file: where they go.
        overrides: those of the run that is to learn from the answers.
    """
    cfg = compose(overrides)
    check(cfg)
    session = Session(Path(cfg.paths.downloads), {}, lambda key: None)
    corpus = Store(Path(cfg.paths.artifacts)).get(corpus_stage(cfg), session)
    sources = [" ".join(pair.source.split()) for pair in load_split(corpus, "train")]
    file.write_text("".join(f"{source}\n" for source in sources), encoding="utf-8")
    return len(sources)
