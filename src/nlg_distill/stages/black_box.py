"""Stages: what a black box writes for every source of a split, and what that is worth."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from nlg_distill.progress import progress
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.teacher_text import (
    FILENAME,
    complete_rows,
    load_teacher_text,
    save_teacher_text,
)
from nlg_distill.store import write_json
from nlg_distill.tasks import TRANSLATION, Task
from nlg_distill.teachers.black_box import BlackBox


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Writes source by source; goes on where it was stopped."""
    writer: BlackBox = instantiate(config["writing"], _convert_="all")
    sources = [pair.source for pair in load_split(parents["corpus"], config["split"])]
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


def score(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Scores its texts of the test split and writes `result.json` and `samples.jsonl`.

    It searches as it likes: its texts stand under every beam size of the others.
    """
    task: Task = instantiate(config.get("task", TRANSLATION), _convert_="all")
    pairs = load_split(parents["corpus"], "test")
    texts = [row[0].text for row in load_teacher_text(parents["teacher_text"])]
    scores = task.score(texts, [pair.target for pair in pairs], [pair.source for pair in pairs])
    result: dict[str, Any] = {f"beam_{size}": scores for size in config["scoring"]["beam_sizes"]}
    result |= {"training_seconds": 0.0, "total_training_seconds": 0.0}
    result["artifacts"] = {
        role: f"{path.parent.name}/{path.name}" for role, path in parents.items()
    }
    with (out / "samples.jsonl").open("w", encoding="utf-8") as file:
        for pair, text in zip(pairs, texts, strict=True):
            row = {"source": pair.source, "gold": pair.target, "teacher": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    write_json(out / "result.json", result)
