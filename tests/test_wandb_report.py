"""The layout of a report, made without a server."""

import json
import sys

import pytest
import wandb
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.curves import CurvesLogger
from nlg_distill.errors import UserError
from nlg_distill.tables.parts import Run
from nlg_distill.tables.spec import Row, TableSpec
from nlg_distill.tables.table import Table
from nlg_distill.tracking.wandb_report import layout_of, report_of, save

pytestmark = pytest.mark.filterwarnings(  # of wandb_workspaces, when it is imported
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)
CURVES = {
    "teacher": {"train/loss": 2.0, "train/nll": 2.0, "val/bleu": 1.0},
    "student": {"train/loss": 2.0, "train/forward_kl": 1.0, "train/gradient_share/nll": 0.5},
}


def finished(root, kind):
    """A run of a row, with the curves of its model."""
    model = root / kind / f"model-{kind}"
    model.mkdir(parents=True)
    CurvesLogger(model).log_metrics(CURVES[kind], 1)
    scores = {"bleu": 1.0, "chrf": 2.0, "source_words_per_second": 10.0}
    metrics = {
        "stage": kind,
        "machine": "here",
        "beam_1": scores,
        "beam_5": scores,
        "perplexity": 3.0,
        "mode_probability": 0.5,
        "parameters": 10,
        "megabytes": 1.0,
        "total_training_seconds": 5.0,
        "decoding": {"sentences": 7, "threads": 1, "batch_tokens": 1, "precision": "32-true"},
        "artifacts": {"model": f"{kind}/model-{kind}"},
    }
    return Run(kind.title(), 1, metrics, str(root / "scores" / f"key-{kind}"))


@pytest.fixture
def table(tmp_path):
    rows = [Row(row="Teacher", experiment="teacher"), Row(row="Student", experiment="baseline")]
    spec = TableSpec(title="My table", rows=rows, baseline="Student")
    runs = [finished(tmp_path / "artifacts", kind) for kind in ("teacher", "student")]
    folder = tmp_path / "tables" / "toy"
    Table(spec, runs).write(folder)
    return folder


@pytest.fixture
def layout(table):
    return json.loads(layout_of(report_of(table, entity="me", project="p")))


def grids(layout):
    """The panels below each heading, and the heading."""
    head = None
    for block in layout["blocks"]:
        if block["type"] == "heading":
            head = block["children"][0]["text"]
        if block["type"] == "panel-grid":
            yield head, block["metadata"]


def test_every_curve_has_a_panel_in_its_section(layout):
    shown = {
        head: [panel["config"]["metrics"] for panel in grid["panelBankSectionConfig"]["panels"]]
        for head, grid in grids(layout)
        if head not in ("Scores", "Texts")
    }
    assert shown == {
        "Training": [["train/loss"], ["train/nll"], ["train/forward_kl"]],
        "Shares of the gradient": [["train/gradient_share/nll"]],
        "Validation": [["val/bleu"]],
    }
    axes = {
        panel["config"]["xAxis"]
        for head, grid in grids(layout)
        for panel in grid["panelBankSectionConfig"]["panels"]
        if head == "Training"
    }
    assert axes == {"step"}


def test_every_score_of_the_table_has_a_bar_chart(layout, table):
    (grid,) = [grid for head, grid in grids(layout) if head == "Scores"]
    panels = grid["panelBankSectionConfig"]["panels"]
    metrics = [metric for panel in panels for metric in panel["config"]["metrics"]]
    head = (table / "table.csv").read_text().splitlines()[0].split(",")
    assert metrics == head[1:-1]
    assert metrics[:2] == ["beam_1/bleu", "beam_5/bleu"]
    places = {(p["layout"]["x"], p["layout"]["y"]) for p in panels}
    assert len(places) == len(panels), "panels lie on each other"


def test_panels_are_of_the_runs_of_the_table(layout):
    for head, grid in grids(layout):
        (runset,) = grid["runSets"]
        filters = json.dumps(runset["filters"])
        assert '"toy"' in filters
        assert ('"scores"' in filters) == (head == "Texts")
        assert ('"student"' in filters) == (head != "Texts")


def test_the_table_and_its_lineage_are_there(layout, table):
    text = json.dumps(layout, ensure_ascii=False)
    line = (table / "table.md").read_text().splitlines()[2]
    assert line in text
    assert "scores-key-teacher" in text
    assert "scores-key-student" in text


def test_a_group_of_another_name_is_found(table):
    report = report_of(table, entity="me", project="p", group="monday")
    assert "monday" in layout_of(report)
    assert "toy" not in layout_of(report)


def test_the_command_writes_the_layout(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["wandb-report", "toy", "--entity", "me", "--to", "report.json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "report.json").read_text())["blocks"]


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*absent: make it with nlg-distill reprod"):
        report_of(tmp_path / "absent", entity="me", project="p")


def test_a_report_without_the_extra_names_it(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"needs an extra: pip install -e '\.\[wandb_report\]'"):
        report_of(table, entity="me", project="p")


def test_a_report_of_nobody_is_not_saved(table, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda **settings: False)
    with pytest.raises(UserError, match="log in with wandb login, or give --to FILE"):
        save(report_of(table, entity="me", project="p"))
