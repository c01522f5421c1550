"""Finished runs by row: means and deviations over seeds, and differences to a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

from nlg_distill.tables.spec import Column

SECONDS = "total_training_seconds"


@dataclass(frozen=True)
class Run:
    """One finished run of a row: its seed, its scores and the artifact that holds them."""

    row: str
    seed: int
    metrics: Mapping[str, Any]
    artifact: str


@dataclass(frozen=True)
class Part:
    """Runs by row, and the row that differences are to.

    Args:
        runs: in the order of their rows.
        baseline: what the differences of a row are to.
        own_baselines: of rows that have another baseline, which may be the others' teacher.
        marks: what stands behind a row's difference in a metric.
    """

    runs: Sequence[Run]
    baseline: str
    own_baselines: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)

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

    def cells(self, row: str, columns: Sequence[Column]) -> list[str]:
        """One row's numbers as they are written."""
        return [self._cell(row, column) for column in columns]

    def _cell(self, row: str, column: Column) -> str:
        """Mean ± sample standard deviation; empty where it is not known or would say nothing."""
        if not all(known(run.metrics, column.metric) for run in self.runs if run.row == row):
            return ""
        mean = self.mean(row, column.metric)
        if column.difference:
            baseline = self.own_baselines.get(row, self.baseline)
            if row == baseline or baseline not in self.rows or self.is_teacher(row):
                return ""
            difference = mean - self.mean(baseline, column.metric)
            return format(difference, column.form) + self.marks.get((row, column.metric), "")
        values = self.values(row, column.metric)
        if len(values) == 1 or (column.fixed and len(set(values)) == 1):
            return format(mean, column.form)
        return f"{mean:{column.form}} ± {deviation(values):{column.form}}"

    def markdown(self, columns: Sequence[Column]) -> list[str]:
        """The lines of a table."""
        lines = ["| | " + " | ".join(c.head for c in columns) + " |"]
        lines.append("|---|" + "---:|" * len(columns))
        lines += [f"| {row} | " + " | ".join(self.cells(row, columns)) + " |" for row in self.rows]
        return lines


def deviation(values: Sequence[float | int]) -> float:
    """The sample standard deviation; NaN if a run diverged."""
    return stdev(values) if all(map(isfinite, values)) else nan


def known(result: Mapping[str, Any], metric: str) -> bool:
    """Whether there is a number at a path."""
    try:
        lookup(result, metric)
    except KeyError:
        return False
    return True


def lookup(result: Mapping[str, Any], metric: str) -> float | int:
    """The number at a path like `beam_5/bleu`."""
    value: Any = result
    for key in metric.split("/"):
        value = value[key]
    number: float | int = value
    return number
