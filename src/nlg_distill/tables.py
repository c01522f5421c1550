"""A table of finished runs: rows, differences to the baseline, and what the table is to show."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nlg_distill.store import write_json
from nlg_distill.table_spec import BEST_STUDENT, Claim, TableSpec

SECONDS = "total_training_seconds"
EQUAL_TIME = "At equal training time"


@dataclass(frozen=True)
class Column:
    """One column: its head, where its number is, and how it is written.

    Args:
        head: what stands above it.
        metric: path in a run's metrics.
        form: format of the number.
        difference: whether it is the mean's difference to the baseline's.
        fixed: whether seeds usually share the number, which is then written alone.
    """

    head: str
    metric: str
    form: str
    difference: bool = False
    fixed: bool = False


BLEU = (
    Column("BLEU K=1", "beam_1/bleu", ".1f"),
    Column("Δ", "beam_1/bleu", "+.1f", difference=True),
    Column("BLEU K=5", "beam_5/bleu", ".1f"),
    Column("Δ", "beam_5/bleu", "+.1f", difference=True),
)
PERPLEXITY = Column("PPL", "perplexity", ".1f")
OTHER_QUALITY = (
    Column("chrF", "beam_5/chrf", ".1f"),
    PERPLEXITY,
    Column("p(ŷ)", "mode_probability", ".2%"),
)
COST = (
    Column("parameters", "parameters", ",.0f", fixed=True),
    Column("MB", "megabytes", ".1f", fixed=True),
    Column("words/s K=1", "beam_1/source_words_per_second", ",.0f"),
    Column("words/s K=5", "beam_5/source_words_per_second", ",.0f"),
    Column("s trained", SECONDS, ",.0f"),
)
COLUMNS = BLEU + OTHER_QUALITY + COST
EQUAL_TIME_COLUMNS = (
    BLEU[0],
    BLEU[2],
    PERPLEXITY,
    Column("steps", "steps", ",.0f", fixed=True),
    Column("seconds", SECONDS, ",.0f"),
)


@dataclass(frozen=True)
class Run:
    """One finished run of a row: its seed, its scores and the artifact that holds them."""

    row: str
    seed: int
    metrics: Mapping[str, Any]
    artifact: str


@dataclass(frozen=True)
class Part:
    """Runs by row, and the row that differences are to."""

    runs: Sequence[Run]
    baseline: str

    @property
    def rows(self) -> list[str]:
        """The names of the rows, in the order of their first runs."""
        return list(dict.fromkeys(run.row for run in self.runs))

    def first(self, row: str) -> Run:
        """A row's run with its first seed."""
        return next(run for run in self.runs if run.row == row)

    def values(self, row: str, metric: str) -> list[float | int]:
        """A metric of each run of a row."""
        return [lookup(run.metrics, metric) for run in self.runs if run.row == row]

    def mean(self, row: str, metric: str) -> float:
        """A metric's mean over the runs of a row."""
        return fmean(self.values(row, metric))

    def fastest(self, row: str) -> float:
        """Seconds of training of a row's fastest run: other work on the machine only adds."""
        return min(self.values(row, SECONDS))

    def is_teacher(self, row: str) -> bool:
        """Whether a row is a teacher, of which there is one run."""
        return bool(self.first(row).metrics["stage"] == "teacher")

    def cells(self, row: str, columns: Sequence[Column] = COLUMNS) -> list[str]:
        """One row's numbers as they are written."""
        return [self._cell(row, column) for column in columns]

    def _cell(self, row: str, column: Column) -> str:
        """Mean ± sample standard deviation; a difference that would say nothing is empty."""
        mean = self.mean(row, column.metric)
        if column.difference:
            apart = self.is_teacher(row) or row == self.baseline or self.baseline not in self.rows
            return (
                "" if apart else format(mean - self.mean(self.baseline, column.metric), column.form)
            )
        values = self.values(row, column.metric)
        if len(values) == 1 or (column.fixed and len(set(values)) == 1):
            return format(mean, column.form)
        return f"{mean:{column.form}} ± {stdev(values):{column.form}}"

    def markdown(self, columns: Sequence[Column]) -> list[str]:
        """The lines of a table."""
        lines = ["| | " + " | ".join(c.head for c in columns) + " |"]
        lines.append("|---|" + "---:|" * len(columns))
        lines += [f"| {row} | " + " | ".join(self.cells(row, columns)) + " |" for row in self.rows]
        return lines


@dataclass
class Table:
    """The finished runs of a table; those at equal training time where it asks for them."""

    spec: TableSpec
    runs: Sequence[Run]
    equal_time_runs: Sequence[Run] = field(default_factory=list)

    @property
    def part(self) -> Part:
        """The rows at their own steps."""
        return Part(self.runs, self.spec.baseline)

    @property
    def equal_time(self) -> Part:
        """The students at the baseline's seconds."""
        return Part(self.equal_time_runs, self.spec.baseline)

    @property
    def has_several_seeds(self) -> bool:
        """Whether a student's numbers are means."""
        return len(self.spec.seeds) > 1

    def best_student(self) -> str | None:
        """The student with the highest mean BLEU at K=5."""
        part = self.part
        students = [row for row in part.rows if not part.is_teacher(row)]
        return max(students, key=lambda row: part.mean(row, "beam_5/bleu"), default=None)

    def notes(self) -> list[str]:
        """Each claim with its number, whether it holds or not; and how the scores were made."""
        notes = [self._judge(claim) for claim in self.spec.claims]
        if self.has_several_seeds:
            seeds = ", ".join(map(str, self.spec.seeds))
            notes.append(
                f"Students: mean ± sample standard deviation over {len(self.spec.seeds)} seeds "
                f"({seeds}), all of one teacher; Δ and claims are of means."
            )
        first = self.runs[0].metrics
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

    def equal_time_note(self) -> str:
        """How the second part was made."""
        seconds = self.part.fastest(self.spec.baseline)
        return (
            f"Each student again, with its steps scaled so that it trains for about the "
            f"{seconds:,.0f} s of {self.spec.baseline}, by the seconds that each one's fastest run "
            f"took at equal steps."
        )

    def markdown(self) -> str:
        """The table and its notes."""
        lines = [f"# {self.spec.title}", "", *self.part.markdown(COLUMNS), ""]
        lines += [f"- {note}" for note in self.notes()]
        if self.spec.equal_seconds:
            lines += ["", f"## {EQUAL_TIME}", "", *self.equal_time.markdown(EQUAL_TIME_COLUMNS)]
            lines += ["", f"- {self.equal_time_note()}"]
        return "\n".join([*lines, ""])

    def csv(self) -> str:
        """One line per run, every metric unrounded."""
        text = io.StringIO()
        metrics = list(dict.fromkeys(column.metric for column in COLUMNS))
        metrics += ["steps"] if self.spec.equal_seconds else []
        writer = csv.writer(text)
        for number, (run, facts) in enumerate(self._runs_and_facts()):
            if number == 0:
                writer.writerow(["row", *facts, *metrics, "run"])
            values = [lookup(run.metrics, metric) for metric in metrics]
            writer.writerow([run.row, *facts.values(), *values, run.artifact])
        return text.getvalue()

    def json(self) -> list[dict[str, Any]]:
        """One entry per run, with all that is known of it."""
        return [
            {"row": run.row, "metrics": run.metrics, "run": run.artifact, **facts}
            for run, facts in self._runs_and_facts()
        ]

    def _runs_and_facts(self) -> list[tuple[Run, dict[str, Any]]]:
        """All runs, each with its seed and what it has equal, where the table has several."""
        parts = {"steps": self.runs, "seconds": self.equal_time_runs}
        return [
            (
                run,
                {
                    **({"seed": run.seed} if self.has_several_seeds else {}),
                    **({"equal": equal} if self.spec.equal_seconds else {}),
                },
            )
            for equal, runs in parts.items()
            for run in runs
        ]

    def write(self, folder: Path) -> None:
        """`table.md`, `table.csv` and `table.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "table.csv").write_text(self.csv(), encoding="utf-8")
        write_json(folder / "table.json", self.json())

    def _judge(self, claim: Claim) -> str:
        row = self.best_student() if claim.row == BEST_STUDENT else claim.row
        assert row is not None
        value = self.part.mean(row, claim.metric)
        shown = f"{value:.4g}"
        if other := claim.minus or claim.over:
            reference = self.part.mean(other, claim.metric)
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
