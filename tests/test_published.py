"""Published numbers and their marks, scales and seeds of a table, and verdicts by hand."""

import inspect
import json
import re

import pytest
from scipy.stats import ttest_1samp, ttest_ind

from nlg_distill.config import ROOT
from nlg_distill.errors import UserError
from nlg_distill.tables import verdicts
from nlg_distill.tables.claims import Claim
from nlg_distill.tables.parts import Run
from nlg_distill.tables.published import Mark, Published, Value
from nlg_distill.tables.resampling import Compared, RowTest
from nlg_distill.tables.sections import findings, shape_sections
from nlg_distill.tables.spec import Row, TableSpec, load_spec
from nlg_distill.tables.table import Table
from nlg_distill.tables.verdicts import Agreement, Verdict, judge, welch


@pytest.mark.parametrize(
    ("text", "number", "mark", "shown"),
    [
        ("17.7 V", 17.7, Mark.VERIFIED, "17.7"),
        ("18.9 D", 18.9, Mark.DERIVED, "18.9"),
        ("6.7 M", 6.7, Mark.RECALLED, "6.7*"),
        ("1.3% V", 0.013, Mark.VERIFIED, "1.3%"),
        ("1,051.3 M", 1051.3, Mark.RECALLED, "1,051.3*"),
        ("-0.9 V", -0.9, Mark.VERIFIED, "-0.9"),
    ],
)
def test_a_number_is_read_with_its_mark(text, number, mark, shown):
    value = Value.read(text)
    assert (value.number, value.mark) == (pytest.approx(number), mark)
    assert str(value) == shown
    assert value.is_known == (mark != "M")


@pytest.mark.parametrize("text", ["17.7", "17.7 X", "V", 17.7, "17.7V", "1 7 V", "", "n/a M"])
def test_a_number_without_its_mark_is_refused(text):
    with pytest.raises(UserError, match="written with its mark"):
        Value.read(text)


def published(rows, tolerance=0.5, **changes):
    columns = [{"head": "B", "metric": "beam_5/bleu", "form": ".1f", "tolerance": tolerance}]
    return Published.read(
        **({"name": "Paper", "source": "somewhere", "columns": columns, "rows": rows} | changes)
    )


def test_a_difference_is_known_where_both_numbers_are_and_it_is_above_the_tolerance():
    found = published(
        {"A": ["17.6 V"], "B": ["18.1 V"], "C": ["18.2 D"], "D": ["25.0 M"], "E": [None]}
    )
    (column,) = found.columns
    assert found.known_difference("B", "A", column) is None  # 0.5, which is not more
    assert found.known_difference("C", "A", column) == pytest.approx(0.6)
    assert found.known_difference("A", "C", column) == pytest.approx(-0.6)
    assert found.known_difference("D", "A", column) is None
    assert found.difference("D", "A", column) == pytest.approx(7.4)
    assert found.difference("E", "A", column) is None
    assert found.difference("F", "A", column) is None
    assert found.is_unverified(column)
    assert not published({"A": ["1 V"]}).is_unverified(column)


@pytest.mark.parametrize("rows", [{"A": []}, {"A": ["1 V", "2 V"]}, {"A": "1 V"}])
def test_a_row_has_a_published_number_for_each_column(rows):
    with pytest.raises(UserError, match="A needs 1 published numbers"):
        published(rows)


# Scales and seeds.

SCALED = """
title: T
baseline: A
seeds: [1, 2, 4]
overrides: [first=1]
cpu: {differs: small, overrides: [size=small]}
paper: {differs: large, overrides: [size=large]}
rows:
  - {row: A, experiment: x, overrides: [own=1]}
  - {row: B, experiment: y, paper: [beam=35], cpu: [beam=5]}
published:
  - name: P
    source: S
    columns: [{head: B, metric: beam_5/bleu, form: .1f}]
    rows: {A: [1.0 V]}
"""


@pytest.fixture
def scaled(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(SCALED)
    return path


@pytest.mark.parametrize(
    ("scale", "size", "beam", "differs"),
    [(None, "small", 5, "small"), ("cpu", "small", 5, "small"), ("paper", "large", 35, "large")],
)
def test_a_scale_adds_its_overrides_to_the_tables_and_the_rows(scaled, scale, size, beam, differs):
    spec = load_spec(scaled, scale)
    a, b = (spec.row_overrides(row, ["last=1"]) for row in spec.rows)
    assert a == ("first=1", f"size={size}", "experiment=x", "own=1", "last=1")
    assert b == ("first=1", f"size={size}", "experiment=y", f"beam={beam}", "last=1")
    assert spec.differs == differs
    assert "beam_5/bleu" in spec.metrics


@pytest.mark.parametrize(
    ("number", "seeds"), [(None, [1, 2, 4]), (1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5, 6])]
)
def test_seeds_are_the_first_of_the_tables_or_counted_on(scaled, number, seeds):
    assert load_spec(scaled, seeds=number).seeds == seeds


def test_a_table_without_seeds_counts_from_one(tmp_path):
    (tmp_path / "t.yaml").write_text("title: T\nbaseline: A\nrows: [{row: A, experiment: x}]")
    spec = load_spec(tmp_path / "t.yaml", seeds=2)
    assert spec.seeds == [1, 2]
    with pytest.raises(UserError, match="leave out seed=3, the table's seeds are"):
        spec.row_overrides(spec.rows[0], ["seed=3"])
    with pytest.raises(UserError, match="has one size: leave out --scale paper"):
        load_spec(tmp_path / "t.yaml", "paper")
    with pytest.raises(UserError, match="--seeds must be positive, got 0"):
        load_spec(tmp_path / "t.yaml", seeds=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("paper: {differs: large, overrides: [size=large]}", "", "one of the scales"),
        ("rows: {A: [1.0 V]}", "rows: {C: [1.0 V]}", "does not have: C"),
        ("rows: {A: [1.0 V]}", "rows: {A: [1.0]}", "written with its mark"),
        ("{row: A, ", "{row: A, baseline: C, ", "does not have: C"),
        ("{row: B, ", "{row: B, baseline: B, ", "B cannot be its own baseline"),
        ("title: T", "title: T\nalone: 3", "alone must be true or false"),
        ("title: T", "title: T\ndiffers: it", "differs belongs to a scale"),
        ("form: .1f}", "form: .1f, tolerance: -1.0}", "tolerance must not be negative"),
    ],
)
def test_a_wrong_spec_is_refused(scaled, old, new, message):
    assert old in SCALED
    scaled.write_text(SCALED.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_spec(scaled)


def test_an_unknown_scale_is_refused(scaled):
    with pytest.raises(UserError, match="--scale must be cpu or paper, got gpu"):
        load_spec(scaled, "gpu")


# Verdicts.


def test_the_docs_define_a_verdict_as_the_code_does():
    page = (ROOT / "docs" / "tables.md").read_text()
    _, definition = inspect.getdoc(verdicts).split("\n\n", 1)
    assert len(definition) > 1000
    assert definition in page


@pytest.mark.parametrize("field", [*TableSpec.__dataclass_fields__, *Row.__dataclass_fields__])
def test_every_field_of_a_table_is_documented(field):
    if field != "differs":  # of a scale
        pages = [(ROOT / page).read_text() for page in ("README.md", "docs/tables.md")]
        assert any(re.search(rf"\b{field}:", page) for page in pages), field


def test_the_test_of_seeds_is_welchs():
    ours, theirs = [20.1, 20.9, 20.4], [18.0, 19.9, 19.1]
    assert welch(ours, theirs) == pytest.approx(ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert welch(ours, [19.0]) == pytest.approx(ttest_1samp(ours, 19.0).pvalue)
    assert welch([19.0], ours) == pytest.approx(ttest_1samp(ours, 19.0).pvalue)
    assert welch([1.0], [2.0]) is None
    assert welch(ours, [float("nan"), 19.0]) is None
    assert (welch([1.0, 1.0], [1.0]), welch([1.0, 1.0], [2.0, 2.0])) == (1.0, 0.0)


NOISE = {"little": [-0.1, 0.0, 0.1], "much": [-4.0, 0.0, 4.0]}
CLEAR = RowTest([Compared(1.0, 0.01, 0.01)] * 3, 0.5)
UNCLEAR = RowTest([Compared(1.0, 0.01, 0.2)] * 3, 0.5)


def made(bleu, noise="little", paper=None, tests=None, seeds=3, **changes):
    """A table of students with these means, and what a paper says of them."""
    runs = [
        Run(row, seed, {"stage": "student", "beam_5": {"bleu": mean + NOISE[noise][seed - 1]}}, "")
        for row, mean in bleu.items()
        for seed in range(1, seeds + 1)
    ]
    rows = [Row(row=row, experiment="x", baseline=changes.get(row)) for row in bleu]
    source = published(paper or {})
    spec = TableSpec(title="T", baseline="Base", rows=rows, seeds=[1, 2, 3], published=[source])
    return Table(spec, runs, tests={(row, "beam_5/bleu"): t for row, t in (tests or {}).items()})


def verdict(table, row="KD"):
    source = table.spec.published[0]
    return judge(table.spec, table.part, table.tests, source, source.columns[0], row)


PAPER = {"Base": ["10.0 V"], "KD": ["12.0 V"]}


@pytest.mark.parametrize(
    ("ours", "noise", "tests", "expected"),
    [
        (13.0, "little", {}, Verdict.HOLDS),
        (13.0, "little", {"KD": CLEAR}, Verdict.HOLDS),
        (13.0, "little", {"KD": UNCLEAR}, Verdict.NOISE),
        (13.0, "much", {}, Verdict.NOISE),
        (13.0, "much", {"KD": CLEAR}, Verdict.NOISE),
        (7.0, "little", {}, Verdict.NOT),
        (7.0, "little", {"KD": UNCLEAR}, Verdict.NOISE),
        (7.0, "much", {}, Verdict.NOISE),
        (10.0, "little", {}, Verdict.NOISE),
    ],
)
def test_a_sign_is_judged_where_seeds_and_texts_are_clear(ours, noise, tests, expected):
    table = made({"Base": 10.0, "KD": ours}, noise, PAPER, tests)
    assert verdict(table).verdict == expected


def test_a_lower_published_number_is_a_sign_too():
    paper = {"Base": ["12.0 V"], "KD": ["10.0 V"]}
    assert verdict(made({"Base": 10.0, "KD": 7.0}, paper=paper)).verdict == Verdict.HOLDS
    assert verdict(made({"Base": 10.0, "KD": 13.0}, paper=paper)).verdict == Verdict.NOT


@pytest.mark.parametrize(
    "paper",
    [
        {"Base": ["10.0 M"], "KD": ["12.0 V"]},
        {"Base": ["10.0 V"], "KD": ["12.0 M"]},
        {"Base": ["10.0 V"], "KD": ["10.4 V"]},
        {"Base": ["10.0 V"]},
    ],
)
def test_nothing_is_judged_by_what_is_not_known(paper):
    table = made({"Base": 10.0, "KD": 13.0}, paper=paper)
    assert verdict(table) is None
    (section,) = shape_sections(table.spec, table.part, table.tests)
    assert "shape" not in section.heads
    assert any("not verified" in note for note in section.notes) == ("M" in str(paper))


@pytest.mark.parametrize(
    ("ours", "noise", "tests", "bound", "expected"),
    [
        (13.0, "little", {}, 0.0, "holds"),
        (13.0, "little", {"KD": CLEAR}, 2.0, "holds"),
        (13.0, "little", {"KD": UNCLEAR}, 0.0, "within noise"),
        (13.0, "much", {}, 2.0, "within noise"),
        (13.0, "little", {}, 2.99, "within noise"),
        (13.0, "little", {}, 4.0, "does not hold"),
        (7.0, "little", {"KD": CLEAR}, 0.0, "does not hold"),
        (7.0, "much", {}, 0.0, "within noise"),
    ],
)
def test_a_claim_is_within_noise_where_chance_explains_it(ours, noise, tests, bound, expected):
    table = made({"Base": 10.0, "KD": ours}, noise, tests=tests)
    claim = dict(claim="C", row="KD", metric="beam_5/bleu")
    minus = Claim(**claim, minus="Base", at_least=bound)
    assert table._judge(minus).startswith(f"C: {expected} (")
    over = Claim(**claim, over="Base", at_least=1 + bound / 10)
    assert table._judge(over).startswith(f"C: {expected} (")


def test_a_test_counts_whichever_row_of_a_claim_is_the_baseline():
    table = made({"Base": 10.0, "KD": 7.0}, tests={"KD": UNCLEAR})
    claim = Claim(claim="C", row="Base", metric="beam_5/bleu", minus="KD", at_least=0.0)
    assert table._judge(claim).startswith("C: within noise (Base: 10 against 7,")


def test_tests_against_the_baseline_say_nothing_of_a_claim_about_another_row():
    table = made({"Base": 10.0, "KD": 13.0, "More": 15.0}, tests={"More": UNCLEAR})
    claim = Claim(claim="C", row="More", metric="beam_5/bleu", minus="KD", at_least=0.0)
    assert table._judge(claim).startswith("C: holds (More: 15 against 13,")


def test_a_baseline_has_no_verdict_and_single_runs_without_tests_neither():
    assert verdict(made({"Base": 10.0, "KD": 13.0}, paper=PAPER), "Base") is None
    single = made({"Base": 10.0, "KD": 13.0}, paper=PAPER, seeds=1)
    assert verdict(single) is None
    single.tests = {("KD", "beam_5/bleu"): RowTest([Compared(3.0, 0.01, 0.01)], 0.5)}
    assert verdict(single).verdict == Verdict.HOLDS


ORDER = {"Base": ["10.0 V"], "KD": ["12.0 V"], "More": ["14.0 V"], "Same": ["12.3 V"]}


def test_the_order_to_other_rows_counts():
    ours = {"Base": 10.0, "KD": 13.0, "More": 12.0, "Same": 20.0}
    table = made(ours, paper=ORDER)
    kd = verdict(table)
    assert kd.sign == Agreement.AGREES
    assert kd.order == {"More": Agreement.CONTRADICTS}  # Same is within the tolerance
    assert kd.verdict == Verdict.NOT
    assert str(kd) == "does not hold, order 0/1, not to More"
    more = verdict(table, "More")
    assert more.order == {"KD": Agreement.CONTRADICTS, "Same": Agreement.CONTRADICTS}
    right = verdict(made(ours | {"More": 15.0}, paper=ORDER))
    assert str(right) == "holds, order 1/1"
    close = verdict(made(ours | {"More": 13.0}, paper=ORDER))
    assert (close.verdict, close.order) == (Verdict.HOLDS, {"More": Agreement.NOISE})


@pytest.mark.parametrize(
    ("more", "expected"), [(15.0, Verdict.HOLDS), (13.0, Verdict.NOISE), (12.0, Verdict.NOT)]
)
def test_the_order_judges_alone_where_no_sign_is_known(more, expected):
    paper = {"Base": ["10.0 M"], "KD": ["12.0 V"], "More": ["14.0 V"]}
    table = made({"Base": 10.0, "KD": 13.0, "More": more}, paper=paper)
    kd = verdict(table)
    assert (kd.sign, kd.verdict) == (None, expected)
    (section,) = shape_sections(table.spec, table.part, table.tests)
    assert section.heads[-1] == "shape"
    assert [row["sign"] for row in findings(table.spec, table.part, table.tests)] == [None] * 3


def test_less_than_half_of_an_order_is_noise():
    paper = {"Base": ["10.0 M"], "KD": ["12.0 V"], "More": ["14.0 V"], "Most": ["16.0 V"]}
    table = made({"Base": 10.0, "KD": 13.0, "More": 13.0, "Most": 17.0}, paper=paper)
    assert str(verdict(table)) == "within noise, order 1/2"
    assert str(verdict(table, "Most")) == "holds, order 2/2"


def test_an_order_does_not_stand_in_for_a_sign_that_was_not_measured():
    paper = {"Base": ["10.0 V"], "KD": ["12.0 V"], "More": ["14.0 V"]}
    table = made({"Base": float("nan"), "KD": 13.0, "More": 15.0}, paper=paper)
    assert verdict(table) is None


def test_rows_with_another_baseline_stand_in_no_order():
    ours = {"Base": 10.0, "KD": 13.0, "More": 12.0}
    paper = {row: ORDER[row] for row in ours}
    table = made(ours, paper=paper, More="KD")
    assert verdict(table).order == {}
    assert verdict(table, "More").sign == Agreement.CONTRADICTS  # 12 is below 13, 14 above 12
    assert table.best_student() == "KD"


def test_a_teacher_has_a_sign_and_no_order():
    paper = {"Base": ["10.0 V"], "KD": ["16.0 V"], "Teacher": ["14.0 V"]}
    table = made({"Base": 10.0, "KD": 13.0, "Teacher": 15.0}, paper=paper)
    for run in table.runs:
        if run.row == "Teacher":
            run.metrics["stage"] = "teacher"
    assert str(verdict(table, "Teacher")) == "holds"
    assert str(verdict(table)) == "holds"


def test_measured_and_published_stand_beside_each_other(tmp_path):
    paper = {"Base": ["10.0 V"], "KD": ["12.0 V"], "Old": ["9.0 M"]}
    table = made({"Base": 10.0, "KD": 13.0, "Old": 13.0}, paper=paper, tests={"KD": CLEAR})
    (section,) = shape_sections(table.spec, table.part, table.tests)
    assert section.title == "B beside Paper"
    assert section.markdown()[2:7] == [
        "| | ours | Δ | published | Δ | shape |",
        "|---|---:|---:|---:|---:|---:|",
        "| Base | 10.0 ± 0.1 |  | 10.0 |  |  |",
        "| KD | 13.0 ± 0.1 | +3.0† | 12.0 | +2.0 | holds |",
        "| Old | 13.0 ± 0.1 | +3.0 | 9.0* | -1.0 |  |",
    ]
    assert any(note.startswith("Published: somewhere") for note in section.notes)
    assert "*: not verified; no row is judged by it." in section.notes


def test_tests_and_verdicts_are_kept_unrounded(tmp_path):
    table = made({"Base": 10.0, "KD": 13.0}, paper=PAPER, tests={"KD": CLEAR})
    for run in table.runs:
        run.metrics.update(
            parameters=1, megabytes=1.0, total_training_seconds=1.0, perplexity=2.0, machine="m"
        )
        run.metrics["decoding"] = dict(sentences=3, threads=1, batch_tokens=9, precision="p")
        run.metrics["mode_probability"] = 0.1
    table.write(tmp_path)
    test, _, judged = json.loads((tmp_path / "findings.json").read_text())
    assert test["difference"] == pytest.approx(3.0)
    assert test["significant_seeds"] == test["seeds"] == 3
    assert test["tests"][0] == {"difference": 1.0, "p_bootstrap": 0.01, "p_randomisation": 0.01}
    assert judged["row"] == "KD"
    assert (judged["verdict"], judged["published"], judged["mark"]) == ("holds", 12.0, "V")
    text = (tmp_path / "table.md").read_text()
    assert "## B beside Paper" in text
    assert "## Tests: BLEU K=5" in text
    row = next(line for line in text.splitlines() if "3/3" in line)
    assert welch([12.9, 13.0, 13.1], [9.9, 10.0, 10.1]) < 0.001
    assert row == (
        "| KD | 13.0 ± 0.1 | ± 0.5 | +3.0 | < 0.001 | 0.010, 0.010, 0.010 | "
        "0.010, 0.010, 0.010 | 3/3 |"
    )
