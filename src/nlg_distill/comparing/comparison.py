"""Rows of finished runs beside each other: quality, costs, and what cannot be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from statistics import fmean

from nlg_distill.comparing.comparability import differing
from nlg_distill.errors import UserError
from nlg_distill.runs.grouping import ComparedRun, Group
from nlg_distill.runs.metric_facts import BETTER, Direction, how_written, numbers
from nlg_distill.tables.parts import SECONDS, deviation, known, lookup
from nlg_distill.tables.spec import BLEU, OTHER_QUALITY, Column
from nlg_distill.tables.table import COST

ALL_COSTS = (*COST, Column("s with teachers", "seconds_with_teachers", ",.0f"))
COLUMNS = {c.metric: c for c in (*BLEU, *OTHER_QUALITY, *ALL_COSTS) if not c.difference}
COSTS = ("parameters", SECONDS, "teacher_seconds", "peak_megabytes")
DESCRIBES = ("length_ratio", "repetition", "source_words_per_second")  # no score of a task


@dataclass(frozen=True)
class Cell:
    """A row's number.

    Args:
        values: of the runs of the row that have it.
        apart: the mean's difference to the baseline's; None where there is none, or it cannot be
            compared.
        is_best: whether its mean is written as the best of the column's.
    """

    values: Sequence[float | int]
    apart: float | None
    is_best: bool

    @property
    def mean(self) -> float:
        """Of the runs."""
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None of one run."""
        return deviation(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """Rows and columns.

    Args:
        rows: groups of runs.
        columns: what is shown of them.
        baseline: the row that differences are to, if there is to be one.
        repeated: how many finished runs were left out because they were there again.
        unfinished: how many runs beside them have no result, by their status.
    """

    rows: Sequence[Group]
    columns: Sequence[Column]
    baseline: Group | None = None
    repeated: int = 0
    unfinished: Mapping[str, int] = field(default_factory=dict)

    @property
    def runs(self) -> list[ComparedRun]:
        """All of them."""
        return [run for row in self.rows for run in row.runs]

    @cached_property
    def unlike(self) -> dict[str, dict[str, dict[str, list[str]]]]:
        """By metric, the conditions in which rows differ so that its numbers say nothing.

        Of each condition, its values, and the rows that have it.
        """
        found = {c.metric: differing(c.metric, self.rows) for c in self.columns}
        return {metric: conditions for metric, conditions in found.items() if conditions}

    def cell(self, row: Group, column: Column) -> Cell | None:
        """A row's number in a column; None if none of its runs has it."""
        values = values_of(row, column.metric)
        if not values:
            return None
        best = self._best(column)
        is_best = best is not None and format(fmean(values), column.form) == best
        return Cell(values, self._apart(row, column), is_best and self._competes(row))

    def has_differences(self, column: Column) -> bool:
        """Whether a column is followed by differences: a score that can be better or worse."""
        return (
            self.baseline is not None
            and better(column.metric, self.runs) is not None
            and column.metric not in {c.metric for c in ALL_COSTS}
        )

    def _competes(self, row: Group) -> bool:
        """Teachers do not compete with students."""
        return not row.is_teacher or all(other.is_teacher for other in self.rows)

    def _best(self, column: Column) -> str | None:
        """The best mean as it is written; None where none is better than another."""
        direction = better(column.metric, self.runs)
        if direction is None or column.metric in self.unlike:
            return None
        competing = [values_of(row, column.metric) for row in self.rows if self._competes(row)]
        means = [mean for values in competing if values and isfinite(mean := fmean(values))]
        if len({format(mean, column.form) for mean in means}) < 2:
            return None
        return format(max(means) if direction == "max" else min(means), column.form)

    def _apart(self, row: Group, column: Column) -> float | None:
        """The difference of means to the baseline, where both were scored under one condition."""
        if self.baseline is None or row is self.baseline or not self._competes(row):
            return None
        pair = (row, self.baseline)
        values, others = (values_of(group, column.metric) for group in pair)
        if not others or differing(column.metric, pair):
            return None
        return fmean(values) - fmean(others)


def compare(
    rows: Sequence[Group],
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    repeated: int = 0,
    unfinished: Mapping[str, int] | None = None,
) -> Comparison:
    """Rows with columns for these metrics, or for those of their task and the costs.

    Raises:
        UserError: if no run has such a metric, or no row such a name.
    """
    runs = [run for row in rows for run in row.runs]
    there = metrics_of(runs)
    for metric in metrics:
        require_metric(metric, there)
    columns = [column_of(metric) for metric in metrics or usual_metrics(runs)]
    found = [row for row in rows if row.label == baseline]
    if baseline is not None and not found:
        names = "; ".join(row.label for row in rows)
        raise UserError(f"there is no row {baseline!r} to take as the baseline: there are {names}")
    return Comparison(rows, columns, found[0] if found else None, repeated, unfinished or {})


def values_of(row: Group, metric: str) -> list[float | int]:
    """A metric of each run of a row that has it."""
    return [lookup(run.metrics, metric) for run in row.runs if known(run.metrics, metric)]


def require_metric(metric: str, there: Sequence[str]) -> None:
    """Refuses a metric that no run has.

    Raises:
        UserError: with those that there are.
    """
    if metric not in there:
        raise UserError(f"no run has a number at {metric!r}: there are {', '.join(there)}")


def metrics_of(runs: Sequence[ComparedRun]) -> list[str]:
    """The paths of all numbers that there are."""
    return list(dict.fromkeys(path for run in runs for path in numbers(run.metrics)))


def usual_metrics(runs: Sequence[ComparedRun]) -> list[str]:
    """The scores of the task, perplexity and the costs, as far as there are any.

    What picks the weights is shown for every beam, other scores for the widest.
    """
    there = metrics_of(runs)
    beams = [path.split("/") for path in there if path.startswith("beam_")]
    widest = max((int(beam.split("_")[1]) for beam, _ in beams), default=0)
    picks = {monitored(run)[0] for run in runs}
    scores = [
        f"{beam}/{name}"
        for beam, name in beams
        if name in picks or (beam == f"beam_{widest}" and name not in DESCRIBES)
    ]
    likelihoods = ["perplexity"] if beams else ["perplexity", "bits_per_byte"]
    return [path for path in (*scores, *likelihoods, *COSTS) if path in there]


def main_metric(run: ComparedRun) -> str:
    """What a run is judged by first: what picks its weights, of the widest beam, or perplexity."""
    scores = [p for p in metrics_of([run]) if p.startswith("beam_")]
    scores = [p for p in scores if p.split("/")[1] == monitored(run)[0]]
    return max(scores, key=lambda p: int(p.split("/")[0][5:]), default="perplexity")


def monitored(run: ComparedRun) -> tuple[str, Direction]:
    """What picks the weights of a run's model, `nll` or a score, and when it is better."""
    from nlg_distill.tasks import Task  # its scores take half a second to import

    task = run.run.config["task"]
    return task.get("monitor", Task.monitor).removeprefix("val/"), task.get("mode", Task.mode)


def better(metric: str, runs: Sequence[ComparedRun]) -> Direction | None:
    """Whether a metric is better at its `max` or its `min`; None if that is not known."""
    name = metric.split("/")[-1].removeprefix("best_validation_")
    return BETTER.get(name) or dict(map(monitored, runs)).get(name)


def column_of(metric: str) -> Column:
    """A column as our other tables write it."""
    if metric in COLUMNS:
        return COLUMNS[metric]
    *path, name = metric.split("/")
    head, form = how_written(name)
    beam = [f" K={part[5:]}" for part in path if part.startswith("beam_")]
    beam += [" drawn" for part in path if part == "drawn"]
    others = [p for p in path if not p.startswith(("beam_", "further_tests", "drawn"))]
    return Column("".join([head, *beam, *(f" on {test}" for test in others)]), metric, form)
