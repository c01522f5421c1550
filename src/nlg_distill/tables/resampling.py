"""Paired tests of two systems on the same test set: bootstrap and approximate randomisation.

Both ask whether a difference of two scores could be one of the test set's chance. They are those of
sacreBLEU's `PairedTest`, with its draws and scores, and its defaults: 1,000 resamples, 10,000
trials, seed 12345. Here a system's texts are counted once, and a sum over texts is one matrix
product, where sacreBLEU counts and adds anew for each pair.

One thing differs: a draw whose difference is as large as the measured one speaks against it here,
as in Riezler and Maxwell; sacreBLEU counts those that are larger. That matters where two systems
write nearly the same. With sacreBLEU, one that differs in a single text, or not at all, has p of
1 / (1 + draws).

Koehn, "Statistical Significance Tests for Machine Translation Evaluation", 2004,
https://aclanthology.org/W04-3250; Riezler and Maxwell, "On Some Pitfalls in Automatic Evaluation
and Significance Testing for MT", 2005, https://aclanthology.org/W05-0908; Post, "A Call for Clarity
in Reporting BLEU Scores", 2018, https://aclanthology.org/W18-6319.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""Below this p, a difference is significant."""
SEED = 12345
RESAMPLES = 1_000
TRIALS = 10_000
ROUNDING = 1e-9  # of scores that are made of the same texts in another order
ROWS = 500  # of a matrix of draws that are multiplied at once
Numbers = NDArray[np.float64]
Score = Callable[[Sequence[float]], float]
"""A system's score, of the sum of what was counted in its texts."""


@dataclass(frozen=True)
class System:
    """What the tests need of one system.

    Args:
        score: on the whole test set.
        counts: the sum of what was counted in its texts. [counted]
        swapped: the same sum over the texts of each trial that change sides. [trials, counted]
        resampled: its score on each resample. [resamples]
    """

    score: float
    counts: Numbers
    swapped: Numbers
    resampled: Numbers

    @property
    def half_interval(self) -> float:
        """Half of the interval that holds 95% of the scores on resamples, in the score's unit."""
        ordered = np.sort(self.resampled)
        outside = len(ordered) // 40
        return float(ordered[-1 - outside] - ordered[outside]) / 2


@dataclass(frozen=True)
class Compared:
    """A system beside another one on the same test set.

    Args:
        difference: of their scores.
        p_bootstrap: of the paired bootstrap as sacreBLEU has it. It counts resamples on which the
            systems are further apart by the difference, not those on which they are closer by it:
            where resamples keep the sign, that is half of a two-sided p.
        p_randomisation: of the approximate randomisation, two-sided.
    """

    difference: float
    p_bootstrap: float
    p_randomisation: float

    @property
    def is_significant(self) -> bool:
        """Whether both tests say so."""
        return max(self.p_bootstrap, self.p_randomisation) < LEVEL


@dataclass(frozen=True)
class RowTest:
    """A row beside its baseline in one metric.

    Args:
        tests: for each pair of their runs; none of a row that is itself the baseline.
        half_interval: half of the 95% interval of the row's score on the test set, by bootstrap;
            the mean over seeds, in the unit of the score.
    """

    tests: Sequence[Compared]
    half_interval: float

    @property
    def agreeing(self) -> int:
        """At how many seeds both tests are significant and the sign is that of the mean."""
        if not self.tests:
            return 0
        sign = fmean(test.difference for test in self.tests) > 0
        return sum(t.is_significant and (t.difference > 0) == sign for t in self.tests)

    @property
    def is_clear(self) -> bool:
        """Whether these are more than half of the seeds."""
        return 2 * self.agreeing > len(self.tests)

    @property
    def is_clear_throughout(self) -> bool:
        """Whether these are all of the seeds."""
        return 0 < self.agreeing == len(self.tests)

    def __str__(self) -> str:
        """At how many of how many seeds."""
        return f"{self.agreeing}/{len(self.tests)}" if self.tests else ""


Tests = Mapping[tuple[str, str], RowTest]
"""By row and metric; what cannot be tested is not in it."""


class PairedTests:
    """The draws for one test set, which all of its systems share."""

    def __init__(
        self, texts: int, score: Score, *, resamples: int = RESAMPLES, trials: int = TRIALS
    ) -> None:
        """`texts` is how many there are; `score` makes a score of a sum of counts."""
        self._score = score
        drawn = np.random.default_rng(SEED).choice(texts, size=(resamples, texts), replace=True)
        self._weights = np.stack([np.bincount(row, minlength=texts) for row in drawn]).astype("u2")
        self._kept = np.random.default_rng(SEED).integers(2, size=(trials, texts), dtype=bool)

    def system(self, counted: Numbers) -> System:
        """Adds up what was counted in each text of a system, [texts, counted]."""
        sums = _products(self._weights, counted)
        total = counted.sum(axis=0)
        return System(
            score=self._score(total.tolist()),
            counts=total,
            swapped=_products(self._kept, counted),
            resampled=self._scores(sums),
        )

    def compare(self, system: System, baseline: System) -> Compared:
        """Both tests of a system against another one.

        p is (1 + the number of draws that are at least as large as the difference) / (1 + draws):
        of resamples, by how much their difference is larger than on average; of trials, the
        difference of two systems between which each text's outputs are swapped or not, by a coin.
        """
        difference = system.score - baseline.score
        apart = np.abs(system.resampled - baseline.resampled)
        first = self._scores(baseline.swapped + (system.counts - system.swapped))
        second = self._scores((baseline.counts - baseline.swapped) + system.swapped)
        return Compared(
            difference,
            _p_value(apart - apart.mean(), abs(difference)),
            _p_value(np.abs(first - second), abs(difference)),
        )

    def _scores(self, sums: Numbers) -> Numbers:
        return np.array([self._score(row) for row in sums.tolist()])


def _products(draws: NDArray[np.generic], counted: Numbers) -> Numbers:
    """The sum of counts over the texts of each draw, [draws, counted]."""
    parts = range(0, len(draws), ROWS)
    return np.concatenate([draws[i : i + ROWS].astype(np.float64) @ counted for i in parts])


def _p_value(draws: Numbers, difference: float) -> float:
    as_large = draws >= difference - ROUNDING
    return (int(as_large.sum()) + 1) / (len(draws) + 1)
