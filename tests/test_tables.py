"""Tables: differences to the baseline, claims judged by their numbers, three files."""

import csv
import json

import pytest

from nlg_distill.errors import UserError
from nlg_distill.table_spec import Claim, Row, TableSpec, load_spec
from nlg_distill.tables import Run, Table


def result(stage, bleu, perplexity=10.0):
    scores = {
        "bleu": bleu,
        "chrf": 30.0,
        "bleu_signature": "sig",
        "chrf_signature": "sig",
        "source_words_per_second": 1234.5,
    }
    return {
        "stage": stage,
        "beam_1": scores,
        "beam_5": scores | {"bleu": bleu + 1},
        "perplexity": perplexity,
        "mode_probability": 0.0123,
        "parameters": 466848,
        "megabytes": 1.9,
        "total_training_seconds": 99.6,
        "decoding": {"sentences": 3, "threads": 1, "batch_tokens": 9, "precision": "32-true"},
        "machine": "a machine",
    }


def table(*claims):
    spec = TableSpec(
        title="Toy",
        baseline="Base",
        rows=[Row(row=name, experiment="x") for name in ("Teacher", "Base", "KD")],
        claims=claims,
    )
    results = {
        "Teacher": result("teacher", 20.0),
        "Base": result("student", 10.0),
        "KD": result("student", 12.5, perplexity=15.0),
    }
    return Table(spec, [Run(row, 1, found, "scores/0") for row, found in results.items()])


def test_cells_hold_the_numbers_and_the_differences_to_the_baseline():
    cells = table().part.cells("KD")
    assert cells[:4] == ["12.5", "+2.5", "13.5", "+2.5"]
    assert cells[4:8] == ["30.0", "15.0", "1.23%", "466,848"]
    assert cells[-1] == "100"


def test_teacher_and_baseline_have_no_difference():
    for row in ("Teacher", "Base"):
        assert [table().part.cells(row)[i] for i in (1, 3)] == ["", ""]


def test_the_best_student_is_a_student():
    assert table().best_student() == "KD"


def test_the_best_student_is_best_at_five():
    rows = table()
    rows.part.first("Base").metrics["beam_1"]["bleu"] = 99.0
    assert rows.best_student() == "KD"


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (dict(row="best student", minus="Base", at_least=2.5), "holds (KD: 13.5 against 11,"),
        (dict(row="KD", minus="Base", at_least=2.6), "does NOT hold (KD: 13.5 against 11,"),
        (dict(row="KD", over="Base", at_least=1.2), "holds"),
        (dict(row="KD", over="Base", at_least=1.3), "does NOT hold"),
        (dict(row="KD", at_least=13.5), "holds (KD: 13.5, bound 13.5)"),
    ],
)
def test_claims_are_judged_with_their_numbers(claim, verdict):
    note = table(Claim(claim="It helps", metric="beam_5/bleu", **claim)).notes()[0]
    assert note.startswith(f"It helps: {verdict}")


def test_three_files_say_the_same(tmp_path):
    table().write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["row"] for row in rows] == ["Teacher", "Base", "KD"]
    assert set(rows[0]) == {"row", "metrics", "run"}
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["beam_5/bleu"]) for line in lines] == [21.0, 11.0, 13.5]
    text = (tmp_path / "table.md").read_text()
    assert "| KD | 12.5 | +2.5 |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


CLAIM = (
    "title: T\nbaseline: A\nrows: [{row: A, experiment: x}]\n"
    "claims: [{claim: c, row: A, metric: m, at_least: 0.0"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: T\nbaseline: A\nrows: [{row: A}]", "does not describe a table"),
        ("title: T\nbaseline: A\nrows: [{row: A, experiment: x}]\nclaim: []", "does not describe"),
        ("title: T\nbaseline: B\nrows: [{row: A, experiment: x}]", "does not have: B"),
        (f"{CLAIM}, minus: B}}]", "does not have: B"),
        (f"{CLAIM}, over: B}}]", "does not have: B"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path, text, message):
    (tmp_path / "toy.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_spec(tmp_path / "toy.yaml")


def test_an_unknown_table_names_those_that_there_are(tmp_path):
    (tmp_path / "toy.yaml").write_text("")
    with pytest.raises(UserError, match=r"no table 'demmo'; there are toy"):
        load_spec(tmp_path / "demmo.yaml")
