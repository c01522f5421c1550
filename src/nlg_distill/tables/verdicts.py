"""Whether a table has the shape of a published one: the one place where a verdict is defined.

Absolute numbers of other corpora and sizes cannot be compared. What is compared is on which side of
each other two rows stand.

**Clear.** The difference D of two rows' means is clear if no chance that is known explains it:

- of the seeds: Welch's t-test of the two rows' runs has p < 0.05. Of a row with a single run, such
  as a teacher's, the deviation is not known and not counted; where both have a single run, there is
  no such test.
- of the test set, against the row's baseline alone, in metrics of kept texts: at more than half of
  the seeds the paired bootstrap and the approximate randomisation both have p < 0.05, with the sign
  of D.

A difference of which neither is known is not judged, nor one of a run that diverged. No correction
is made for many comparisons.

A **claim** of a table says that a number reaches a bound, or another row's number by a bound. It
*holds* or *does not hold* by the means, and is *within noise* where the distance from the bound is
not clear: of the seeds always, of the test set where the claim says no more than which of two
numbers is larger. Where no chance is known it holds or not *by the means alone*, and it *cannot be
judged* of a run that diverged. That the best student is the best of several is not counted.

**Compared** with a published difference d of the same two rows, which is known (both numbers
verified, or derived from such) and larger than the column's tolerance: D agrees if it is clear and
has the sign of d, contradicts if it is clear and has the other one, and is within noise if it is
not clear.

**A row's verdict** in a column looks at its difference to its baseline, the sign, and at its
difference to every other row with the same baseline, the order:

- *does not hold* if its sign contradicts, or the order to some other row does,
- *within noise* if its sign is not clear,
- *holds* otherwise: its sign agrees, and nothing contradicts.

Where its published difference to the baseline is not known or within the tolerance, the order
judges alone: *holds* if more than half of it agrees and nothing contradicts, *does not hold* if
something does, else *within noise*. A row with neither has no verdict. A teacher has a sign, and
stands in no order with students.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, sqrt
from statistics import fmean, variance

from nlg_distill.tables.claims import Claim
from nlg_distill.tables.parts import Part, known
from nlg_distill.tables.published import Published, PublishedColumn
from nlg_distill.tables.resampling import LEVEL, RowTest, Tests
from nlg_distill.tables.spec import TableSpec


class Agreement(StrEnum):
    """What a measured difference says of a published one."""

    AGREES = "agrees"
    NOISE = "within noise"
    CONTRADICTS = "contradicts"


class Verdict(StrEnum):
    """Whether a row has the published shape in a column."""

    HOLDS = "holds"
    NOISE = "within noise"
    NOT = "does not hold"


@dataclass(frozen=True)
class Judged:
    """A row in a published column.

    Args:
        verdict: of the row.
        sign: its difference to its baseline beside the published one; None if that is not known.
        order: the same of its difference to each other row whose published one is known.
    """

    verdict: Verdict
    sign: Agreement | None
    order: dict[str, Agreement]

    def __str__(self) -> str:
        """The verdict, and how much of the order is clear."""
        agreeing = sum(a == Agreement.AGREES for a in self.order.values())
        order = f", order {agreeing}/{len(self.order)}" if self.order else ""
        against = [row for row, a in self.order.items() if a == Agreement.CONTRADICTS]
        return f"{self.verdict}{order}" + (f", not to {', '.join(against)}" if against else "")


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's t-test of two means.

    The variance of a single number is taken for 0, and has no degrees of freedom. None if both are
    single, or one of a run that diverged.

    Welch, "The generalization of Student's problem when several different population variances are
    involved", 1947, https://doi.org/10.1093/biomet/34.1-2.28.
    """
    from scipy.stats import t

    several = [values for values in (ours, theirs) if len(values) > 1]
    if not several or not all(map(isfinite, [*ours, *theirs])):
        return None
    difference = abs(fmean(ours) - fmean(theirs))
    errors = [variance(values) / len(values) for values in several]  # squared, of each mean
    if sum(errors) == 0:
        return 0.0 if difference else 1.0
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, several, strict=True)
    )
    return float(2 * t.sf(difference / sqrt(sum(errors)), freedom))


def judge(
    spec: TableSpec,
    part: Part,
    tests: Tests,
    published: Published,
    column: PublishedColumn,
    row: str,
) -> Judged | None:
    """The verdict on a row; None where there is none."""
    baseline = spec.baseline_of(row)
    if baseline is None:
        return None
    sign = _agreement(part, tests, published, column, row, baseline)
    order = {}
    for other in () if part.is_teacher(row) else published.rows:
        beside = spec.baseline_of(other) == baseline and not part.is_teacher(other)
        if other != row and beside:
            agreement = _agreement(part, {}, published, column, row, other)
            if agreement is not None:
                order[other] = agreement
    if sign is None and published.known_difference(row, baseline, column) is not None:
        return None  # it cannot be compared, and the order would hide that
    deciding = [sign] if sign else list(order.values())
    if not deciding:
        return None
    agreeing = deciding.count(Agreement.AGREES)
    verdict = Verdict.HOLDS if 2 * agreeing > len(deciding) else Verdict.NOISE
    if Agreement.CONTRADICTS in (sign, *order.values()):
        verdict = Verdict.NOT
    return Judged(verdict, sign, order)


def _agreement(
    part: Part,
    tests: Tests,
    published: Published,
    column: PublishedColumn,
    row: str,
    other: str,
) -> Agreement | None:
    """A measured difference beside the published one; None where one of them is not known."""
    expected = published.known_difference(row, other, column)
    if expected is None or not all(
        known(part.first(name).metrics, column.metric) for name in (row, other)
    ):
        return None
    ours, theirs = part.values(row, column.metric), part.values(other, column.metric)
    difference = fmean(ours) - fmean(theirs)
    clear = _is_clear(ours, theirs, tests.get((row, column.metric)))
    if clear is None or not isfinite(difference):
        return None
    if not clear:
        return Agreement.NOISE
    return Agreement.AGREES if (difference > 0) == (expected > 0) else Agreement.CONTRADICTS


def judge_claim(spec: TableSpec, part: Part, tests: Tests, claim: Claim, row: str) -> str:
    """The verdict on a claim about a row; of the best student, that is the row."""
    metric = claim.other_metric or claim.metric
    ours = part.values(row, claim.metric)
    theirs = claim.needed(part.values(claim.other, metric) if claim.other else [])
    if not all(map(isfinite, [*ours, *theirs])):
        return "cannot be judged"
    test = None
    if claim.is_of_sign and metric == claim.metric:
        pairs = ((row, claim.other), (claim.other, row))  # either may be the other's baseline
        named = [one for one, other in pairs if one and spec.baseline_of(one) == other]
        test = next((tests[one, metric] for one in named if (one, metric) in tests), None)
    clear = _is_clear(ours, theirs, test)
    if clear is False:
        return Verdict.NOISE
    verdict = Verdict.HOLDS if fmean(ours) >= fmean(theirs) else Verdict.NOT
    return verdict if clear else f"{verdict} by the means alone"


def _is_clear(ours: Sequence[float], theirs: Sequence[float], test: RowTest | None) -> bool | None:
    """Whether no chance that is known explains a difference; None where none is known."""
    chances = []
    if (p_value := welch(ours, theirs)) is not None:
        chances.append(p_value < LEVEL)
    if test is not None and test.tests:
        chances.append(test.is_clear)
    return all(chances) if chances else None
