"""The curves of a training, thinned to what a chart can show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nlg_distill.runs.finished import FinishedRun

MOST_POINTS, FEWEST_POINTS = 200, 20
BYTES, BYTES_PER_POINT = 4_000_000, 9


def all_curves(runs: Sequence[FinishedRun]) -> list[dict[str, tuple[list[int], list[float]]]]:
    """For each run, steps and values by name, as logged; nothing where nothing was kept."""
    return [_series(run) for run in runs]


def _series(run: FinishedRun) -> dict[str, tuple[list[int], list[float]]]:
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in run.curves:
        for name, value in line.items():
            if name != "step":
                steps, values = found.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(float(value))
    return found


def most_points(curves: Sequence[Mapping[str, Any]]) -> int:
    """How many points a curve may have so that all of them together take some 4 MB."""
    number = max(1, sum(map(len, curves)))
    return min(MOST_POINTS, max(FEWEST_POINTS, BYTES // BYTES_PER_POINT // number))


def thinned(curves: Mapping[str, tuple[list[int], list[float]]], most: int) -> dict[str, Any]:
    """At most so many points of each curve, evenly among those logged, first and last included.

    Returns:
        `steps`, a list of lists, and `series`: by name, the number of its list of steps and its
        values to 5 digits, None where one is not finite.
    """
    all_steps: list[list[int]] = []
    series: dict[str, Any] = {}
    for name, (steps, values) in sorted(curves.items()):
        chosen = evenly(len(steps), most)
        kept = [steps[i] for i in chosen]
        if kept not in all_steps:
            all_steps.append(kept)
        series[name] = [all_steps.index(kept), [_rounded(values[i]) for i in chosen]]
    return {"steps": all_steps, "series": series}


def evenly(total: int, most: int) -> list[int]:
    """At most `most` of the numbers below `total`, evenly spread, first and last included."""
    if total <= most:
        return list(range(total))
    if most == 1:
        return [0]
    return [round(i * (total - 1) / (most - 1)) for i in range(most)]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def terms(run: FinishedRun) -> list[str]:
    """The names of the loss's terms, which are logged as `train/<term>`."""
    part = "teacher_loss" if run.result["stage"] == "teacher" else "loss"
    return list(run.config.get(part) or {})
