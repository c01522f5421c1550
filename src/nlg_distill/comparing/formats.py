"""A comparison as Markdown, LaTeX, HTML or CSV."""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nlg_distill.comparing.comparison import Cell, Comparison
from nlg_distill.comparing.notes import notes, warnings
from nlg_distill.tables.spec import Column


@dataclass(frozen=True)
class Field:
    """A written number, and whether it is the best of its column."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Grid:
    """What is written: the heads of the columns, and each row's name and fields."""

    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Field]]]
    remarks: Sequence[str]


def grid(comparison: Comparison) -> Grid:
    """A comparison as it is written, the same in all formats that are read by people."""
    heads, counts = [], {len(row.runs) for row in comparison.rows}
    for column in comparison.columns:
        heads += [column.head, "Δ"] if comparison.has_differences(column) else [column.head]
    rows = []
    for row in comparison.rows:
        fields = [Field(f"{len(row.runs)}")] if len(counts) > 1 else []
        for column in comparison.columns:
            cell = comparison.cell(row, column)
            written = "" if cell is None else _written(cell, column, len(row.runs))
            fields.append(Field(written, cell is not None and cell.is_best))
            if comparison.has_differences(column):
                apart = None if cell is None else cell.apart
                fields.append(Field("" if apart is None else format(apart, f"+{column.form}")))
        rows.append((row.label, fields))
    if len(counts) > 1:
        heads = ["runs", *heads]
    return Grid(heads, rows, [*warnings(comparison), *notes(comparison)])


def _written(cell: Cell, column: Column, runs: int) -> str:
    """Mean ± sample standard deviation, and of how many runs where others of the row lack it."""
    text = format(cell.mean, column.form)
    if cell.deviation is not None and not (column.fixed and cell.deviation == 0):
        text += f" ± {cell.deviation:{column.form}}"
    return text if len(cell.values) == runs else f"{text} (n={len(cell.values)})"


def markdown(comparison: Comparison) -> str:
    """A table as GitHub reads it, and remarks below."""
    whole = grid(comparison)
    lines = ["| | " + " | ".join(map(_in_markdown, whole.heads)) + " |"]
    lines.append("|---|" + "---:|" * len(whole.heads))
    for label, fields in whole.rows:
        texts = [f"**{field.text}**" if field.is_best else field.text for field in fields]
        lines.append(f"| {_in_markdown(label)} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", *(f"- {remark}" for remark in whole.remarks), ""])


def _in_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", text)


def latex(comparison: Comparison) -> str:
    """A `tabular` of booktabs; remarks are comments above it."""
    whole = grid(comparison)
    lines = ["% \\usepackage{booktabs}"]
    lines += [f"% {remark}" for remark in whole.remarks]
    lines += [f"\\begin{{tabular}}{{l{'r' * len(whole.heads)}}}", "\\toprule"]
    lines += [" & ".join(["", *map(in_latex, whole.heads)]).strip() + " \\\\", "\\midrule"]
    for label, fields in whole.rows:
        texts = [in_latex(field.text) for field in fields]
        marked = [
            f"\\textbf{{{text}}}" if field.is_best else text
            for text, field in zip(texts, fields, strict=True)
        ]
        lines.append(" & ".join([in_latex(label), *marked]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


IN_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "[": "{[}",  # behind the \\ of a row it would be a length
    "*": "{*}",
    "±": "$\\pm$",
    "Δ": "$\\Delta$",
    "ŷ": "$\\hat{y}$",
}


def in_latex(text: str) -> str:
    """A text whose characters stand for themselves.

    Letters of other scripts stay as they are: those that pdfLaTeX does not know need another LaTeX.
    """
    text = "".join(IN_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![^\s(])-(?=\d)", "$-$", text)


def html_table(comparison: Comparison) -> str:
    """A `table` and a list of remarks, to be put into a page."""
    whole = grid(comparison)
    heads = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in whole.heads)
    lines = ["<table>", f"<thead><tr><td></td>{heads}</tr></thead>", "<tbody>"]
    for label, fields in whole.rows:
        texts = [html.escape(field.text) for field in fields]
        cells = [
            f"<td>{f'<strong>{text}</strong>' if field.is_best else text}</td>"
            for text, field in zip(texts, fields, strict=True)
        ]
        lines.append(f'<tr><th scope="row">{html.escape(label)}</th>{"".join(cells)}</tr>')
    lines += ["</tbody>", "</table>", "<ul>"]
    lines += [f"<li>{html.escape(remark)}</li>" for remark in whole.remarks]
    return "\n".join([*lines, "</ul>", ""])


def csv_table(comparison: Comparison) -> str:
    """One line per row, unrounded: of each metric mean, deviation and number of runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = []
    for column in comparison.columns:
        heads += [f"{column.metric} {what}" for what in ("mean", "std", "n")]
        heads += [f"{column.metric} difference"] if comparison.has_differences(column) else []
    writer.writerow(["row", "runs", "seeds", *heads])
    for row in comparison.rows:
        values: list[object] = [row.label, len(row.runs), " ".join(map(str, row.seeds))]
        for column in comparison.columns:
            cell = comparison.cell(row, column)
            values += ["", "", 0] if cell is None else [cell.mean, cell.deviation, len(cell.values)]
            values += [cell and cell.apart] if comparison.has_differences(column) else []
        writer.writerow(values)
    return text.getvalue()


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "md": markdown,
    "latex": latex,
    "csv": csv_table,
    "html": html_table,
}
ENDINGS = {".md": "md", ".tex": "latex", ".csv": "csv", ".html": "html"}
