"""The page itself: its template, its style and its code in one file, around the data."""

import base64
import hashlib
import html
import importlib.metadata
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from nlg_distill.errors import UserError
from nlg_distill.html_report.block import as_block
from nlg_distill.html_report.collect import report_data
from nlg_distill.runs.finished import finished_runs

PARTS = (
    "elements.js",
    "tooltip.js",
    "chart.js",
    "header.js",
    "table.js",
    "curves.js",
    "terms.js",
    "pareto.js",
    "words.js",
    "texts.js",
    "settings.js",
    "corpus.js",
    "cost.js",
    "main.js",
)
OURS = '<meta name="generator" content="nlg-distill report">'


def write_report(
    folder: Path, output: Path | None = None, *, title: str | None = None, num_texts: int = 200
) -> Path:
    """Writes the page about all finished runs below a folder.

    Args:
        folder: with runs in it, however deep.
        output: the page; `report.html` in the folder if not given. A report that is there is
            replaced.
        title: the page's heading; the folder's name if not given.
        num_texts: how many texts of each test set are shown at most; 0 for none.

    Raises:
        UserError: if there are no runs, or `output` is another file than a report.
    """
    output = folder / "report.html" if output is None else output
    refuse_other_file(output)
    data = report_data(finished_runs(folder), folder, num_texts)
    page = render(data, title or f"Report on {folder.resolve().name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(page.encode("utf-8", "backslashreplace"))
    return output


def refuse_other_file(path: Path) -> None:
    """Lets a report be replaced, and nothing else.

    Raises:
        UserError: if `path` is there and was not written by this command.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give --output a file, such as {path}/report.html")
    if path.is_file() and OURS.encode() not in path.read_bytes()[:2000]:
        raise UserError(
            f"{path} is there and is no report of nlg-distill: remove it, or give another --output"
        )


def render(data: dict[str, Any], title: str) -> str:
    """The page. It may load nothing, and run no script but its own.

    A text of a corpus or a model that looks like a script is a text: the policy in the head names
    the page's script and style by their hashes.
    """
    made = {
        "title": title,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": importlib.metadata.version("nlg-distill"),
    }
    script = '"use strict";\n' + "\n".join(map(_part, PARTS))
    style = _part("page.css")
    parts = {
        "generator": OURS,
        "policy": (
            f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
            f"script-src {_hash(script)}; style-src {_hash(style)}"
        ),
        "title": html.escape(title),
        "style": style,
        "data": as_block({**made, **data}),
        "script": script,
    }
    before, *rest = _part("page.html").split("{{")
    pieces = (piece.split("}}", 1) for piece in rest)
    return before + "".join(parts[name] + text for name, text in pieces)


def _part(name: str) -> str:
    return (files("nlg_distill.html_report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
