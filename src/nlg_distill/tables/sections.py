"""What stands below a table: its numbers beside published ones, and the tests on the test set."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nlg_distill.tables.parts import Part, known
from nlg_distill.tables.published import Published, PublishedColumn
from nlg_distill.tables.resampling import RESAMPLES, SEED, TRIALS, Tests
from nlg_distill.tables.spec import Column, TableSpec
from nlg_distill.tables.verdicts import Judged, judge, welch

SIGNIFICANT = "†"


@dataclass(frozen=True)
class Section:
    """A small table with a head and notes."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def markdown(self) -> list[str]:
        """Its lines."""
        lines = [f"## {self.title}", "", "| | " + " | ".join(self.heads) + " |"]
        lines.append("|---|" + "---:|" * len(self.heads))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return [*lines, "", *(f"- {note}" for note in self.notes)]


def shape_sections(spec: TableSpec, part: Part, tests: Tests) -> list[Section]:
    """Measured beside published, a section for each source and column, with a verdict on each row.

    No verdicts where no published difference is known.
    """
    pairs = [(published, column) for published in spec.published for column in published.columns]
    return [_shape_section(spec, part, tests, *pair) for pair in pairs]


def _shape_section(
    spec: TableSpec, part: Part, tests: Tests, published: Published, column: PublishedColumn
) -> Section:
    rows, verdicts = [], []
    for row in part.rows:
        ours = part.cells(row, [Column(column.head, column.metric, column.form)])[0]
        theirs = published.value(row, column)
        baseline = spec.baseline_of(row)
        gain = None if baseline is None else published.difference(row, baseline, column)
        judged = judge(spec, part, tests, published, column, row)
        rows.append(
            [
                row,
                ours,
                _difference(spec, part, column, row),
                "" if theirs is None else str(theirs),
                "" if gain is None else format(gain, f"+{column.form}"),
            ]
        )
        verdicts.append("" if judged is None else str(judged))
    heads, notes = ["ours", "Δ", "published", "Δ"], [f"Published: {published.source}."]
    if published.is_unverified(column):
        notes.append("*: not verified; no row is judged by it.")
    if any(verdicts):
        heads.append("shape")
        rows = [[*row, verdict] for row, verdict in zip(rows, verdicts, strict=True)]
        notes.append(_shape_note(column))
    return Section(f"{column.head} beside {published.name}", heads, rows, notes)


def _shape_note(column: PublishedColumn) -> str:
    order = "the order is that among rows with the same baseline (docs/tables.md)"
    if not column.tolerance:
        return f"Shape: the sign of Δ, and {order}."
    return (
        f"Shape: the sign of Δ, and {order}; published differences up to {column.tolerance:g} say "
        f"nothing."
    )


def _difference(spec: TableSpec, part: Part, column: PublishedColumn, row: str) -> str:
    """The difference to a row's baseline, a teacher's too, with its mark."""
    difference = _measured(spec, part, column.metric, row)
    if difference is None:
        return ""
    return format(difference, f"+{column.form}") + part.marks.get((row, column.metric), "")


def _measured(spec: TableSpec, part: Part, metric: str, row: str) -> float | None:
    baseline = spec.baseline_of(row)
    if baseline is None or not all(known(part.first(r).metrics, metric) for r in (row, baseline)):
        return None
    return part.mean(row, metric) - part.mean(baseline, metric)


def significance_sections(spec: TableSpec, part: Part, tests: Tests) -> list[Section]:
    """The tests of each metric: of the seeds, and of the test set."""
    metrics = list(dict.fromkeys(metric for _, metric in tests))
    return [_significance_section(spec, part, tests, metric) for metric in metrics]


def _significance_section(spec: TableSpec, part: Part, tests: Tests, metric: str) -> Section:
    column = _column_of(spec, metric)
    rows = []
    for row in part.rows:
        test = tests.get((row, metric))
        if test is None:
            continue
        baseline, difference, by_seeds = spec.baseline_of(row), None, None
        if baseline in part.rows:
            by_seeds = welch(part.values(row, metric), part.values(baseline, metric))
            difference = part.mean(row, metric) - part.mean(baseline, metric)
        rows.append(
            [
                row,
                part.cells(row, [column])[0],
                f"± {test.half_interval:{column.form}}",
                "" if difference is None else f"{difference:+{column.form.removeprefix('+')}}",
                "" if by_seeds is None else p_value(by_seeds),
                ", ".join(p_value(t.p_bootstrap) for t in test.tests),
                ", ".join(p_value(t.p_randomisation) for t in test.tests),
                str(test),
            ]
        )
    heads = ["score", "test set", "Δ", "p seeds", "p bootstrap", "p randomisation", "significant"]
    notes = [
        "Score: mean ± sample standard deviation over seeds; test set: half of the 95% interval of "
        "the score over resampled test sets, mean over seeds.",
        f"p seeds: Welch's t-test of the seeds. The others are of the test set, seed by seed: "
        f"{RESAMPLES:,} resamples, {TRIALS:,} trials, seed {SEED}, as in sacreBLEU; significant: "
        f"at how many seeds both are below 0.05, with the sign of Δ. A row with a single run "
        f"is tested against each of the baseline's.",
    ]
    return Section(f"Tests: {column.head}", heads, rows, notes)


def p_value(p: float) -> str:
    """A p-value as it is written; never as 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _column_of(spec: TableSpec, metric: str) -> Column:
    """How a metric is shown, by the first column that shows it and not its difference."""
    for column in spec.scores:
        if column.metric == metric and not column.difference:
            return column
    for published in spec.published:
        for shown in published.columns:
            if shown.metric == metric:
                return Column(shown.head, metric, shown.form)
    return Column(metric, metric, ".3f")


def findings(spec: TableSpec, part: Part, tests: Tests) -> list[dict[str, Any]]:
    """All that was tested and judged, unrounded; an entry for each row and metric of a source."""
    found = []
    for (row, metric), test in tests.items():
        found.append(
            {
                "row": row,
                "metric": metric,
                "baseline": spec.baseline_of(row),
                "difference": _measured(spec, part, metric, row),
                "half_interval": test.half_interval,
                "seeds": len(test.tests),
                "significant_seeds": test.agreeing,
                "tests": [asdict(t) for t in test.tests],
            }
        )
    for published in spec.published:
        for column in published.columns:
            for row in published.rows:
                found.append(_published_finding(spec, part, tests, published, column, row))
    return found


def _published_finding(
    spec: TableSpec,
    part: Part,
    tests: Tests,
    published: Published,
    column: PublishedColumn,
    row: str,
) -> dict[str, Any]:
    value = published.value(row, column)
    judged: Judged | None = judge(spec, part, tests, published, column, row)
    return {
        "row": row,
        "metric": column.metric,
        "baseline": spec.baseline_of(row),
        "difference": _measured(spec, part, column.metric, row),
        "setting": published.name,
        "source": published.source,
        "published": None if value is None else value.number,
        "mark": None if value is None else value.mark,
        "verdict": None if judged is None else judged.verdict,
        "sign": None if judged is None else judged.sign,
        "order": {} if judged is None else judged.order,
    }
