"""Stage: raw text to clean, split pairs and the report on them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from nlg_distill.data.corpus import Pair
from nlg_distill.data.hygiene import Splits, hygiene_report, unused
from nlg_distill.progress import track
from nlg_distill.session import Session
from nlg_distill.store import write_json


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Reads, cleans and splits a corpus."""
    settings = instantiate(config, _convert_="all")
    raw = settings["corpus"].read(session.downloads)
    pairs, cleaned = settings["cleaning"](track(raw, "read the corpus", None))
    splits = settings["splitting"](pairs)
    cleaned |= unused(pairs, splits)
    for name, members in splits.items():
        write_split(out, name, members)
    write_json(out / "hygiene.json", hygiene_report(splits, cleaned))


def write_split(folder: Path, name: str, pairs: Sequence[Pair]) -> None:
    """Writes pairs so that `load_split` finds them."""
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {"source": pair.source, "target": pair.target}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def load_split(corpus: Path, name: str) -> list[Pair]:
    """The pairs of `train`, `validation` or `test`, or of a further test set in its own folder."""
    with (corpus / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [Pair(**json.loads(line)) for line in file]


def load_splits(corpus: Path) -> Splits:
    """All three."""
    return {name: load_split(corpus, name) for name in ("train", "validation", "test")}
