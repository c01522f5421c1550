"""A plot of quality by cost, of finished runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from nlg_distill.comparing.comparison import Comparison, better
from nlg_distill.comparing.notes import warnings
from nlg_distill.comparing.pareto import on_front
from nlg_distill.comparing.pareto_svg import BOTTOM, LEFT, RIGHT, TOP, Point, axis, draw
from nlg_distill.errors import UserError
from nlg_distill.tables.spec import Column


@dataclass(frozen=True)
class Plotted:
    """The points of a plot, and the rows that have none for want of a number."""

    points: Sequence[Point]
    left_out: Sequence[str]


def plot(comparison: Comparison, *, log: bool = False) -> tuple[str, list[str]]:
    """The plot of a comparison with two columns, a cost and a quality; and what to know about it.

    Raises:
        UserError: if a direction is not known, no row has both numbers, or the numbers of rows
            cannot be compared.
    """
    cost, quality = comparison.columns
    if {cost.metric, quality.metric} & comparison.unlike.keys():
        raise UserError("\n".join(["there is no front:", *warnings(comparison)]))
    plotted = points_of(comparison, cost, quality)
    notes = list(warnings(comparison))
    if plotted.left_out:
        notes.append(f"Without a number, and left out: {', '.join(plotted.left_out)}.")
    if any(point.x_deviation or point.y_deviation for point in plotted.points):
        notes.append("Bars: ± the sample standard deviation over seeds.")
    columns = [(p.x, p.x_deviation) for p in plotted.points]
    x = axis(cost.head, cost.form, columns, LEFT, RIGHT, log=log)
    y = axis(
        quality.head, quality.form, [(p.y, p.y_deviation) for p in plotted.points], BOTTOM, TOP
    )
    title = f"{quality.head} by {cost.head}"
    lines = [line for note in notes for line in wrap(note, 120)]
    direction = better(quality.metric, comparison.runs) or "max"
    picture = draw(plotted.points, x=x, y=y, quality=direction, title=title, notes=lines)
    return picture, notes


def points_of(comparison: Comparison, cost: Column, quality: Column) -> Plotted:
    """A point for each row that has both numbers, and whether it is on the front.

    Raises:
        UserError: if no row has, or it is not known when a number is better.
    """
    directions = [better(column.metric, comparison.runs) for column in (cost, quality)]
    for column, direction in zip((cost, quality), directions, strict=True):
        if direction is None:
            raise UserError(
                f"whether {column.metric} is better at its least or its largest is not known: take "
                f"another, such as perplexity"
            )
    found, left_out = [], []
    for row in comparison.rows:
        pair = (comparison.cell(row, cost), comparison.cell(row, quality))
        if pair[0] is None or pair[1] is None:
            left_out.append(row.label)
        else:
            found.append((row, pair[0], pair[1]))
    if not found:
        raise UserError(f"no row has both {cost.metric} and {quality.metric}")
    on = on_front(
        [(x.mean, y.mean) for _, x, y in found],
        cost=directions[0] or "min",
        quality=directions[1] or "max",
    )
    points = [
        Point(
            row.label,
            f"{quality.head} {y.mean:{quality.form}}, {cost.head} {x.mean:{cost.form}}",
            x.mean,
            y.mean,
            x.deviation or 0.0,
            y.deviation or 0.0,
            is_on,
        )
        for (row, x, y), is_on in zip(found, on, strict=True)
    ]
    return Plotted(points, left_out)
