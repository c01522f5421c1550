"""Whether rows of a table differ from their baselines on the test set, seed by seed.

A student with seed s is tested against the baseline's student with seed s. Where one of the two
rows has a single model, as a teacher has, it is tested against each of the other's. Each pair is a
test of its own on the same texts: with three seeds, the table says at how many of three a
difference is significant. The outputs of several seeds are not put together: each sentence of the
test set would count three times as if it were three, and p would come out too small. What the seeds
themselves differ by is shown beside it.

Clark et al., "Better Hypothesis Testing for Statistical Machine Translation: Controlling for
Optimizer Instability", 2011, https://aclanthology.org/P11-2031, on why one training is not enough.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml
from hydra.utils import instantiate
from sacrebleu.metrics.base import Metric as SacrebleuMetric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nlg_distill.stages.scores import read_texts
from nlg_distill.tables.parts import Run
from nlg_distill.tables.resampling import Numbers, PairedTests, RowTest, System, Tests
from nlg_distill.tables.spec import TableSpec
from nlg_distill.tasks import TRANSLATION, Metric, Task
from nlg_distill.text_metrics import bleu, chrf, rouge, sari


class OfSacrebleu:
    """Counts in texts what a metric of sacreBLEU is made of."""

    def __init__(
        self, kind: Callable[..., SacrebleuMetric], *, references: Sequence[str], **settings: Any
    ) -> None:
        """`kind` with `settings` is the metric, of one reference for each text."""
        self._metric = kind(references=[list(references)], **settings)

    def count(self, texts: Sequence[str], sources: Sequence[str]) -> Numbers:
        """What was counted in each text, [texts, counted]."""
        counted = self._metric._extract_corpus_statistics(list(texts), None)
        return np.array(counted, dtype=np.float64)

    def score(self, counted: Sequence[float]) -> float:
        """The score of a sum of counts."""
        return float(self._metric._compute_score_from_stats(list(counted)).score)


class MeanOfTexts:
    """A metric that is the mean of what each text scores."""

    def __init__(
        self, metric: Callable[..., float], *, references: Sequence[str], **settings: Any
    ) -> None:
        """`metric` with `settings` scores texts."""
        self._metric = partial(metric, **settings)
        self._references = references

    def count(self, texts: Sequence[str], sources: Sequence[str]) -> Numbers:
        """The score of each text, and that it is one, [texts, 2]."""
        pairs = zip(texts, self._references, sources, strict=True)
        scores = [self._metric([t], [r], [s]) for t, r, s in pairs]
        return np.column_stack([scores, np.ones(len(scores))])

    def score(self, counted: Sequence[float]) -> float:
        """The mean."""
        return counted[0] / counted[1]


Counter = OfSacrebleu | MeanOfTexts
COUNTED: Mapping[Callable[..., Any], Callable[..., Counter]] = {
    bleu: partial(OfSacrebleu, BLEU),
    chrf: partial(OfSacrebleu, CHRF),
    rouge: partial(MeanOfTexts, rouge),
    sari: partial(MeanOfTexts, sari),
}
"""Metrics that are made of counts in single texts; others, such as distinct-n, are not tested."""


def compare_rows(spec: TableSpec, runs: Sequence[Run]) -> Tests:
    """Tests every row against its baseline, in the metrics of which the table has differences.

    Of a row without a baseline there is the interval of its score alone. What is left out: a metric
    that is not made of counts in texts, and one of texts that are not kept, as those at a beam of 1
    of scores made before they were.
    """
    metrics = [column.metric for column in spec.scores if column.difference]
    metrics += [column.metric for published in spec.published for column in published.columns]
    found: dict[tuple[str, str], RowTest] = {}
    for metric in dict.fromkeys(metrics):
        compare = _Comparison(metric)
        for row in dict.fromkeys(run.row for run in runs):
            own = [run for run in runs if run.row == row]
            tested = compare.row(own, pairs_of(spec, row, runs))
            if tested is not None:
                found[row, metric] = tested
    return found


def pairs_of(spec: TableSpec, row: str, runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Each run of a row beside its baseline's with the same seed.

    The only run of a row, such as a teacher's, is beside each of the other's.
    """
    baseline = spec.baseline_of(row)
    ours = [run for run in runs if run.row == row]
    theirs = [run for run in runs if run.row == baseline]
    if len(ours) == 1 or len(theirs) == 1:
        return [(a, b) for a in ours for b in theirs]
    return [(a, b) for a in ours for b in theirs if a.seed == b.seed]


class _Comparison:
    """The tests in one metric; a system's texts are read and counted once."""

    def __init__(self, metric: str) -> None:
        """`metric` is a path in a run's metrics."""
        self._way, _, self._name = metric.partition("/")
        self._test_sets: dict[tuple[str, ...], tuple[Counter, PairedTests]] = {}
        self._systems: dict[str, tuple[PairedTests, System] | None] = {}

    def row(self, runs: Sequence[Run], pairs: Sequence[tuple[Run, Run]]) -> RowTest | None:
        """The tests of a row's runs; None if one of them cannot be tested."""
        tests, intervals = [], []
        for run in runs:
            if (system := self._system(run)) is None:
                return None
            intervals.append(system[1].half_interval)
        for ours, theirs in pairs:
            a, b = self._system(ours), self._system(theirs)
            if a is None or b is None or a[0] is not b[0]:
                return None
            tests.append(a[0].compare(a[1], b[1]))
        return RowTest(tests, fmean(intervals))

    def _system(self, run: Run) -> tuple[PairedTests, System] | None:
        if run.artifact not in self._systems:
            self._systems[run.artifact] = self._read(Path(run.artifact))
        return self._systems[run.artifact]

    def _read(self, scores: Path) -> tuple[PairedTests, System] | None:
        kind = counter_of(_metric(scores, self._name))
        written = read_texts(scores, self._way)
        if kind is None or written is None:
            return None
        counter, tests = self._test_set(kind, written.references)
        return tests, tests.system(counter.count(written.texts, written.sources))

    def _test_set(
        self, kind: Callable[..., Counter], references: Sequence[str]
    ) -> tuple[Counter, PairedTests]:
        key = tuple(references)
        if key not in self._test_sets:
            counter = kind(references=references)
            self._test_sets[key] = counter, PairedTests(len(references), counter.score)
        return self._test_sets[key]


def counter_of(metric: Metric | None) -> Callable[..., Counter] | None:
    """What counts in texts what a metric is made of, with its settings; None if nothing does."""
    function = metric.func if isinstance(metric, partial) else metric
    settings = metric.keywords if isinstance(metric, partial) else {}
    made = COUNTED.get(function) if function is not None else None
    return None if made is None else partial(made, **settings)


def _metric(scores: Path, name: str) -> Metric | None:
    """A metric of the task that a model was scored by; None if it has no such metric."""
    config: dict[str, Any] = yaml.safe_load((scores / "config.yaml").read_text(encoding="utf-8"))
    task: Task = instantiate(config.get("task", TRANSLATION), _convert_="all")
    return task.metrics.get(name)
