"""Which of several models no other beats at once in cost and in quality."""

from collections.abc import Sequence
from math import isfinite

from nlg_distill.runs.metric_facts import Direction


def on_front(
    points: Sequence[tuple[float, float]],
    *,
    cost: Direction = "min",
    quality: Direction = "max",
) -> list[bool]:
    """Whether each point is on the Pareto front.

    A point is on it if no other is at least as good in both numbers and better in one. Of points
    that are equal in both, all are on it or none is. One with a number that is not finite is not.

    Args:
        points: cost and quality of each.
        cost: whether a cost is better at its `min` or its `max`, as words a second are.
        quality: the same of the quality.

    Returns:
        One answer for each point, in their order.
    """
    signs = [-1.0 if direction == "min" else 1.0 for direction in (cost, quality)]
    goods = [(signs[0] * x, signs[1] * y) for x, y in points]
    finite = [good for good in goods if all(map(isfinite, good))]
    return [good in finite and not any(_beats(o, good) for o in finite) for good in goods]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
