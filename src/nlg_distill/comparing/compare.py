"""Compares finished runs on disk: `nlg-distill table` and `nlg-distill pareto`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nlg_distill.comparing.comparison import Comparison, compare, main_metric
from nlg_distill.comparing.formats import ENDINGS, FORMATS
from nlg_distill.comparing.notes import warnings
from nlg_distill.comparing.pareto_plot import plot
from nlg_distill.errors import UserError
from nlg_distill.runs.grouping import compared_runs, grouped
from nlg_distill.runs.listing import unfinished


def write_table(
    folders: Sequence[Path],
    *,
    rows: str | None = None,
    columns: str | None = None,
    baseline: str | None = None,
    form: str | None = None,
    output: Path | None = None,
) -> None:
    """Writes a table of the finished runs below some folders to a file, or prints it.

    Args:
        folders: where the runs are.
        rows: keys that the runs of a row agree in, with commas between; all but the seed if none.
        columns: metrics, with commas between; those of the task and the costs if none are given.
        baseline: the row that differences are to.
        form: one of `FORMATS`; if not given, what the name of the file says, or Markdown.
        output: the file.

    Raises:
        UserError: if there is no such run, key, metric, row or format.
    """
    write = FORMATS[_format(form, output)]
    compared = _comparison(folders, rows, _listed(columns), baseline)
    text = write(compared)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
        print(f"Written to {output}")
    if output is not None or write is FORMATS["csv"]:  # where nobody reads it, or it is not said
        _tell(warnings(compared))


def write_plot(
    folders: Sequence[Path],
    *,
    cost: str,
    rows: str | None = None,
    quality: str | None = None,
    log: bool = False,
    output: Path,
) -> None:
    """Draws quality by cost of the finished runs below some folders into an SVG file.

    Raises:
        UserError: if there is no such run, key or metric, or nothing to draw.
    """
    if output.suffix != ".svg":
        raise UserError(f"--output must be a file that ends with .svg, got {output}")
    if quality is None:
        quality = main_metric(compared_runs(folders)[0][0])
    picture, notes = plot(_comparison(folders, rows, [cost, quality], None), log=log)
    output.write_text(picture, encoding="utf-8")
    print(f"Written to {output}")
    _tell(notes)


def _comparison(
    folders: Sequence[Path], rows: str | None, metrics: Sequence[str], baseline: str | None
) -> Comparison:
    runs, repeated = compared_runs(folders)
    return compare(
        grouped(runs, _listed(rows)),
        metrics=metrics,
        baseline=baseline,
        repeated=repeated,
        unfinished=unfinished(folders),
    )


def _format(form: str | None, output: Path | None) -> str:
    if form is None:
        form = "md" if output is None else ENDINGS.get(output.suffix)
    if form is None:
        raise UserError(
            f"what format {output} has cannot be told from its name: end it with one of "
            f"{', '.join(ENDINGS)}, or give --format"
        )
    if form not in FORMATS:
        raise UserError(f"there is no format {form!r}: there are {', '.join(FORMATS)}")
    return form


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names else []


def _tell(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(sentence, file=sys.stderr)
