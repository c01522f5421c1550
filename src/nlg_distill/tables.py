"""A table of finished runs: rows, differences to the baseline, and what the table is to show."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlg_distill.errors import UserError
from nlg_distill.store import write_json

BEST_STUDENT = "best student"


@dataclass(frozen=True)
class Column:
    """One column: its head, where its number is, and how it is written."""

    head: str
    metric: str
    form: str
    difference: bool = False


QUALITY = (
    Column("BLEU K=1", "beam_1/bleu", ".1f"),
    Column("Δ", "beam_1/bleu", "+.1f", difference=True),
    Column("BLEU K=5", "beam_5/bleu", ".1f"),
    Column("Δ", "beam_5/bleu", "+.1f", difference=True),
    Column("chrF", "beam_5/chrf", ".1f"),
    Column("PPL", "perplexity", ".1f"),
    Column("p(ŷ)", "mode_probability", ".2%"),
)
COST = (
    Column("parameters", "parameters", ",d"),
    Column("MB", "megabytes", ".1f"),
    Column("words/s K=1", "beam_1/source_words_per_second", ",.0f"),
    Column("words/s K=5", "beam_5/source_words_per_second", ",.0f"),
    Column("s trained", "total_training_seconds", ",.0f"),
)
COLUMNS = QUALITY + COST


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a table is to show: a row's metric, minus or over another row's, and its bound."""

    claim: str
    row: str
    metric: str
    at_least: float
    minus: str | None = None
    over: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: the experiment that makes it, and overrides of its own."""

    row: str
    experiment: str
    overrides: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """A table as data, from conf/table."""

    title: str
    baseline: str
    rows: Sequence[Row]
    overrides: Sequence[str] = ()
    claims: Sequence[Claim] = ()


@dataclass
class Table:
    """The rows that are finished so far."""

    spec: TableSpec
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    def best_student(self) -> str | None:
        """The student with the highest BLEU at K=5."""
        students = [n for n, r in self.results.items() if r["stage"] == "student"]
        return max(students, key=lambda n: self.results[n]["beam_5"]["bleu"], default=None)

    def cells(self, name: str) -> list[str]:
        """One row's numbers as they are written; a difference that says nothing is empty."""
        result = self.results[name]
        baseline = self.results.get(self.spec.baseline)
        cells = []
        for column in COLUMNS:
            value = lookup(result, column.metric)
            if column.difference:
                apart = result["stage"] == "teacher" or name == self.spec.baseline
                if apart or baseline is None:
                    cells.append("")
                    continue
                value -= lookup(baseline, column.metric)
            cells.append(format(value, column.form))
        return cells

    def notes(self) -> list[str]:
        """Each claim with its number, whether it holds or not; and how the scores were made."""
        notes = [self._judge(claim) for claim in self.spec.claims]
        first = next(iter(self.results.values()))
        decoding = first["decoding"]
        notes.append(
            f"Scores on {decoding['sentences']:,} test sentences. BLEU: "
            f"{first['beam_1']['bleu_signature']}; chrF (K=5): {first['beam_5']['chrf_signature']}."
        )
        notes.append(
            f"Words/s: source words, {decoding['threads']} thread(s), batches of "
            f"{decoding['batch_tokens']} tokens, {decoding['precision']}, on {first['machine']}; "
            f"other rows may have trained beside it. Seconds include the training that a row "
            f"starts from."
        )
        return notes

    def markdown(self) -> str:
        """The table and its notes."""
        lines = [f"# {self.spec.title}", "", "| | " + " | ".join(c.head for c in COLUMNS) + " |"]
        lines.append("|---|" + "---:|" * len(COLUMNS))
        lines += [f"| {name} | " + " | ".join(self.cells(name)) + " |" for name in self.results]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes()), ""])

    def csv(self) -> str:
        """One line per row, every metric unrounded."""
        text = io.StringIO()
        metrics = list(dict.fromkeys(column.metric for column in COLUMNS))
        writer = csv.writer(text)
        writer.writerow(["row", *metrics, "run"])
        for name, result in self.results.items():
            values = [lookup(result, metric) for metric in metrics]
            writer.writerow([name, *values, self.runs[name]])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """`table.md`, `table.csv` and `table.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "table.csv").write_text(self.csv(), encoding="utf-8")
        rows = [
            {"row": name, "metrics": result, "run": self.runs[name]}
            for name, result in self.results.items()
        ]
        write_json(folder / "table.json", rows)

    def _judge(self, claim: Claim) -> str:
        row = self.best_student() if claim.row == BEST_STUDENT else claim.row
        assert row is not None
        value = lookup(self.results[row], claim.metric)
        shown = f"{value:.4g}"
        if other := claim.minus or claim.over:
            reference = lookup(self.results[other], claim.metric)
            shown += f" against {reference:.4g}"
            value = value - reference if claim.minus else value / reference
        verdict = "holds" if value >= claim.at_least else "does NOT hold"
        return f"{claim.claim}: {verdict} ({row}: {shown}, bound {claim.at_least:g})."


def lookup(result: Mapping[str, Any], metric: str) -> float | int:
    """The number at a path like `beam_5/bleu`."""
    value: Any = result
    for key in metric.split("/"):
        value = value[key]
    number: float | int = value
    return number


def load_spec(path: Path) -> TableSpec:
    """A table's spec from its file.

    Raises:
        UserError: if there is no such file, or it does not describe a table.
    """
    import yaml

    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"there is no table {path.stem!r}; there are {names}")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        rows = [Row(**row) for row in raw.pop("rows")]
        claims = [Claim(**claim) for claim in raw.pop("claims", [])]
        spec = TableSpec(rows=rows, claims=claims, **raw)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} does not describe a table: {error}") from error
    known = {BEST_STUDENT, *(row.row for row in spec.rows)}
    named = {spec.baseline, *(n for c in claims for n in (c.row, c.minus, c.over) if n)}
    if unknown := named - known:
        raise UserError(f"{path} names rows that it does not have: {', '.join(sorted(unknown))}")
    return spec


def load_result(scores: Path) -> dict[str, Any]:
    """The result of a scores artifact."""
    result: dict[str, Any] = json.loads((scores / "result.json").read_text(encoding="utf-8"))
    return result
