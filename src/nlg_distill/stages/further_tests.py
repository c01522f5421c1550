"""Stage: further test sets, cleaned like the corpus and held against its training text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from nlg_distill.data.hygiene import apart_from, hygiene_report
from nlg_distill.errors import UserError
from nlg_distill.progress import track
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split, write_split
from nlg_distill.store import write_json


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Reads and cleans each test set, and leaves out what shares a text with the training split."""
    settings = instantiate(config, _convert_="all")
    train = load_split(parents["corpus"], "train")
    reports: dict[str, Any] = {}
    for name, corpus in settings["further_tests"].items():
        raw = corpus.read(session.downloads)
        clean, counts = settings["cleaning"](track(raw, f"read {name}", None))
        pairs = apart_from(train, clean)
        if not pairs:
            raise UserError(
                f"data.further_tests.{name}: of {len(clean)} clean pairs, none is left that shares "
                f"no text with the training split"
            )
        counts["in the training text"] = len(clean) - len(pairs)
        write_split(out, name, pairs)
        facts = hygiene_report({"train": train, "test": pairs}, counts)
        reports[name] = {"cleaning": counts, **facts["test"]}
    write_json(out / "hygiene.json", reports)
