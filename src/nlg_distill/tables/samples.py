"""Some test texts below a table, with what each row wrote of them."""

import json
import re
from itertools import islice
from pathlib import Path

from nlg_distill.tables.parts import Part


def samples_section(part: Part, number: int) -> list[str]:
    """Lines: the first `number` test texts, and what each row's run with the first seed wrote.

    With the widest beam; where there are no sources, what was drawn after the first words.
    """
    written = {row: _first(Path(part.first(row).artifact), number) for row in part.rows}
    lines = ["## Samples", "", "What each row's run with its first seed wrote.", ""]
    for texts in zip(*written.values(), strict=True):
        lines += [f"- {_plain(texts[0]['source'])}", f"    - *gold*: {_plain(texts[0]['gold'])}"]
        for row, text in zip(written, texts, strict=True):
            own = text["student" if "student" in text else "teacher"]
            lines.append(f"    - *{row}*: {_plain(own)}")
    return lines


def _plain(text: str) -> str:
    """On one line, without what Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _first(scores: Path, number: int) -> list[dict[str, str]]:
    """Source, gold and what was written; of a black box, under `teacher` alone."""
    with (scores / "samples.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, number)]
