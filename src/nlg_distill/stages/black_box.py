"""Stage: what a black box writes for every training source."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from nlg_distill.progress import progress
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.teacher_text import FILENAME, complete_rows, save_teacher_text
from nlg_distill.teachers.black_box import BlackBox


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Writes source by source; goes on where it was stopped."""
    writer: BlackBox = instantiate(config["writing"], _convert_="all")
    sources = [pair.source for pair in load_split(parents["corpus"], "train")]
    (out / "work").mkdir(exist_ok=True)
    written = out / "work" / FILENAME
    done = sum(1 for _ in complete_rows(written))
    with (
        written.open("a", encoding="utf-8") as file,
        progress("black box writes", len(sources)) as bar,
    ):
        bar.advance(done)
        for number, text in enumerate(writer.write(sources, done), start=done):
            file.write(json.dumps([[number, [[text, None]]]], ensure_ascii=False) + "\n")
            file.flush()
            bar.advance(1)
    rows = dict(complete_rows(written))
    assert list(rows) == list(range(len(sources)))
    save_teacher_text(out, rows.values())
