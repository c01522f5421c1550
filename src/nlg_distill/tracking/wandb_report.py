"""A report of Weights & Biases about a finished table. Needs the extra `wandb_report`."""

import csv
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlg_distill.curves import read_curves
from nlg_distill.errors import UserError
from nlg_distill.extras import install

SECTIONS = {  # of the curves, by their prefix; a longer prefix takes its names from a shorter one
    "train/gradient_share/": "Shares of the gradient",
    "train/": "Training",
    "val/": "Validation",
}
ACROSS, WIDTH, HEIGHT = 3, 8, 6  # panels beside each other, and their size on W&B's grid of 24
NO_SCORES = ("row", "seed", "equal", "run")  # columns of table.csv


def report_of(folder: Path, *, entity: str, project: str, group: str | None = None) -> Any:
    """The report, not saved: the table, its scores, curves of each term, samples and lineage.

    Args:
        folder: of the finished table, with `table.md`, `table.csv` and `table.json`.
        entity: who owns the project in W&B.
        project: that the table's runs are in.
        group: that they are in; the table's name if not given.

    Raises:
        UserError: if the table was not made, or the extra is not installed.
    """
    if not (folder / "table.json").is_file():
        raise UserError(f"there is no {folder}: make it with nlg-distill reproduce {folder.name}")
    wr = _import("wandb_workspaces.reports.v2")
    text = (folder / "table.md").read_text(encoding="utf-8")
    title, _, body = text.removeprefix("# ").partition("\n")
    runs = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    group = group or folder.name
    sections = _sections(runs)
    blocks = [
        wr.MarkdownBlock(text=body.strip()),
        wr.H2(text="Scores"),
        _grid(group, ["teacher", "student"], [wr.BarPlot(metrics=[m]) for m in _scores(folder)]),
    ]
    for head, names in sections.items():
        curves = [wr.LinePlot(title=name, x="step", y=[name]) for name in names]
        blocks += [wr.H2(text=head), _grid(group, ["teacher", "student"], curves)]
    blocks += [
        wr.H2(text="Texts"),
        _grid(group, ["scores"], [wr.WeavePanelSummaryTable(table_name="samples")], across=1),
        wr.H2(text="What each row was made from"),
        *(_lineage(wr, entity, project, run) for run in runs),
    ]
    return wr.Report(entity=entity, project=project, title=title[:128], blocks=blocks)


def layout_of(report: Any) -> str:
    """The report as W&B stores it, in JSON."""
    text: str = report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2)
    return text + "\n"


def save(report: Any) -> str:
    """Saves a report in W&B, and gives its address.

    Raises:
        UserError: if nobody is logged in.
    """
    import wandb

    if not wandb.login(prompt=False):
        raise UserError(
            "a report is saved in W&B: log in with wandb login, or give --to FILE for its layout"
        )
    url: str = report.save().url
    return url


def _grid(group: str, job_types: Sequence[str], panels: Sequence[Any], across: int = ACROSS) -> Any:
    """Panels over the runs of these job types in a group."""
    wr, expr = _import("wandb_workspaces.reports.v2"), _import("wandb_workspaces.expr")
    width = WIDTH * ACROSS // across
    for number, panel in enumerate(panels):
        x, y = number % across * width, number // across * HEIGHT
        panel.layout = wr.Layout(x=x, y=y, w=width, h=HEIGHT)
    chosen = expr.And(expr.Metric("Group") == group, expr.Metric("JobType").isin(list(job_types)))
    return wr.PanelGrid(
        runsets=[wr.Runset(name=", ".join(job_types), filters=chosen)], panels=list(panels)
    )


def _import(module: str) -> Any:
    """A module of the extra, whose types mypy cannot follow."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"a report needs an extra: {install('wandb_workspaces')}") from error


def _lineage(wr: Any, entity: str, project: str, run: Any) -> Any:
    return wr.WeaveBlockArtifact(
        entity=entity, project=project, artifact=f"scores-{Path(run['run']).name}", tab="lineage"
    )


def _scores(folder: Path) -> list[str]:
    """The metrics of a table, in its order."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return [column for column in next(csv.reader(file)) if column not in NO_SCORES]


def _sections(runs: Sequence[Any]) -> dict[str, list[str]]:
    """The names of all curves of a table's models, by section."""
    names: dict[str, None] = {}
    for run in runs:
        model = Path(run["run"]).parents[1] / run["metrics"]["artifacts"].get("model", "none")
        for line in read_curves(model):
            names |= dict.fromkeys(line)
    found: dict[str, list[str]] = {}
    for prefix, head in SECTIONS.items():
        mine = [name for name in names if name.startswith(prefix)]
        names = {name: None for name in names if name not in mine}
        if mine:
            found[head] = mine
    return found
