"""The Pareto plot of a comparison: quality by cost, as an SVG that is read in light and in dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from nlg_distill.errors import UserError
from nlg_distill.runs.metric_facts import Direction

WIDTH, HEIGHT = 800.0, 520.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 780.0, 50.0, 430.0
Box = tuple[float, float, float, float]
LETTER = 6.6  # about the width of one
STYLE = """
.pareto text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.pareto .label { paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
.pareto .title { font-weight: 600; font-size: 15px }
.pareto .pale { fill: #59636e }
.pareto .ground { fill: #ffffff }
.pareto .grid { stroke: #d1d9e0 }
.pareto .bar { stroke: #59636e }
.pareto .line { fill: none; stroke: #0969da; stroke-dasharray: 5 4 }
.pareto .beaten { fill: #ffffff; stroke: #59636e; stroke-width: 1.5 }
.pareto .front { fill: #0969da; stroke: #0969da; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  .pareto text { fill: #f0f6fc }
  .pareto .label { stroke: #0d1117 }
  .pareto .pale { fill: #9198a1 }
  .pareto .ground { fill: #0d1117 }
  .pareto .grid { stroke: #3d444d }
  .pareto .bar { stroke: #9198a1 }
  .pareto .line { stroke: #4493f8 }
  .pareto .beaten { fill: #0d1117; stroke: #9198a1 }
  .pareto .front { fill: #4493f8; stroke: #4493f8 }
}
"""


@dataclass(frozen=True)
class Point:
    """A model: its mean cost and quality, their deviations over seeds, and what is said of it.

    Args:
        label: its name.
        told: both numbers, as they are written.
        x: the cost.
        y: the quality.
        x_deviation: of the cost, 0 of one run.
        y_deviation: of the quality, 0 of one run.
        on_front: whether no other beats it in both.
    """

    label: str
    told: str
    x: float
    y: float
    x_deviation: float
    y_deviation: float
    on_front: bool


@dataclass(frozen=True)
class Axis:
    """Where numbers are in the picture.

    Args:
        name: what stands beside it.
        form: format of its numbers.
        low: the least number.
        high: the largest.
        begin: where the least is, in pixels.
        end: where the largest is.
        log: whether equal distances are equal ratios.
    """

    name: str
    form: str
    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a number is, in pixels; what is outside of the picture, at its edge."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def written(self, tick: float) -> str:
        """A round number: a share as its form says, others with the digits that they have."""
        return format(tick, self.form if self.form.endswith("%") else ",.10g")

    def ticks(self) -> list[float]:
        """Round numbers on it."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            candidates = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 6)
            first = math.ceil(self.low / step)
            candidates = [i * step for i in range(first, math.floor(self.high / step) + 1)]
        return [tick for tick in candidates if self.low <= tick <= self.high]


def axis(
    name: str,
    form: str,
    bars: Sequence[tuple[float, float]],
    begin: float,
    end: float,
    *,
    log: bool = False,
) -> Axis:
    """An axis with room for all numbers and their deviations.

    Raises:
        UserError: if a number that is not positive is to be on a logarithmic axis.
    """
    low, high = min(v - d for v, d in bars), max(v + d for v, d in bars)
    if log:
        if min(v for v, _ in bars) <= 0:
            raise UserError(f"{name} has a number that is not positive: leave out --log")
        low = low if low > 0 else min(v for v, _ in bars)
        room = max((high / low) ** 0.08, 1.05)
        return Axis(name, form, low / room, high * room, begin, end, log=True)
    room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    least = 0.0 if low >= 0 else -math.inf
    return Axis(name, form, max(low - room, least), high + room, begin, end)


def draw(
    points: Sequence[Point],
    *,
    x: Axis,
    y: Axis,
    quality: Direction,
    title: str,
    notes: Sequence[str],
) -> str:
    """The picture; `quality` says whether y is better at its `min` or its `max`."""
    front = [point.label for point in points if point.on_front]
    told = f"On the Pareto front: {'; '.join(front)}."
    labels, numbered = _labels(points, x, y)
    below = [*(line for name in numbered for line in wrap(name, 120)), *notes]
    height = HEIGHT + 16 * len(below)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="pareto" role="img" '
        f'viewBox="0 0 {WIDTH:.0f} {height:.0f}">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(told)}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH:.0f}" height="{height:.0f}"/>',
        _text(LEFT, 28.0, title, "title"),
        *_axes(x, y),
        _front_line(points, x, y, quality),
    ]
    for point in points:
        lines += _marked(point, x.place(point.x), y.place(point.y), x, y)
    lines += labels
    lines.append(
        _text(LEFT, HEIGHT - 24, "Filled: on the Pareto front; no other beats it in both.")
    )
    lines += [_text(LEFT, HEIGHT - 6 + 16 * i, note, "pale") for i, note in enumerate(below)]
    return "\n".join([*lines, "</svg>", ""])


def _axes(x: Axis, y: Axis) -> list[str]:
    lines = []
    for tick in x.ticks():
        at = x.place(tick)
        lines.append(_line(at, TOP, at, BOTTOM, "grid"))
        lines.append(_text(at, BOTTOM + 18, x.written(tick), "pale", "middle"))
    for tick in y.ticks():
        at = y.place(tick)
        lines.append(_line(LEFT, at, RIGHT, at, "grid"))
        lines.append(_text(LEFT - 8, at + 4, y.written(tick), "pale", "end"))
    lines.append(_text((LEFT + RIGHT) / 2, BOTTOM + 42, x.name, "", "middle"))
    middle = (TOP + BOTTOM) / 2
    turned = _text(18.0, middle, y.name, "", "middle")
    return [*lines, turned.replace("<text", f'<text transform="rotate(-90 18 {middle:.1f})"', 1)]


def _front_line(points: Sequence[Point], x: Axis, y: Axis, quality: Direction) -> str:
    """Steps along the front: with less quality than a step's, more cost buys nothing."""
    found = (point for point in points if point.on_front)
    front = sorted(found, key=lambda point: point.y, reverse=quality == "min")
    steps = " ".join(
        f"{'H' if i else 'M'}{x.place(p.x):.1f}{'V' if i else ','}{y.place(p.y):.1f}"
        for i, p in enumerate(front)
    )
    return f'<path class="line" d="{steps}"/>'


def _marked(point: Point, at: float, height: float, x: Axis, y: Axis) -> list[str]:
    """A point with its bars; what it is, for a pointer above it."""
    lines = ["<g>", f"<title>{escape(f'{point.label}: {point.told}')}</title>"]
    if point.x_deviation:
        ends = [x.place(point.x + sign * point.x_deviation) for sign in (-1, 1)]
        lines.append(_line(ends[0], height, ends[1], height, "bar"))
    if point.y_deviation:
        ends = [y.place(point.y + sign * point.y_deviation) for sign in (-1, 1)]
        lines.append(_line(at, ends[0], at, ends[1], "bar"))
    kind = "front" if point.on_front else "beaten"
    return [*lines, f'<circle class="{kind}" cx="{at:.1f}" cy="{height:.1f}" r="5"/>', "</g>"]


def _labels(points: Sequence[Point], x: Axis, y: Axis) -> tuple[list[str], list[str]]:
    """Names beside the points, those of the front first.

    One that finds no room is a number there, and stands behind it in what is returned second.
    """
    places = [(x.place(p.x), y.place(p.y)) for p in points]
    taken = [(at - 6, height - 6, at + 6, height + 6) for at, height in places]
    lines: list[str] = []
    numbered: list[str] = []
    for index in sorted(range(len(points)), key=lambda i: not points[i].on_front):
        point, written = points[index], points[index].label
        place = _room_for(written, *places[index], taken)
        if place is None:
            written = str(len(numbered) + 1)
            numbered.append(f"{written}: {point.label}")
            at, height = places[index]
            place = _room_for(written, at, height, taken) or (at + 7, height - 8)
        taken.append(_box(written, *place))
        kind = "label" if point.on_front else "label pale"
        lines.append(_text(*place, written, kind))
    return lines, numbered


def _room_for(
    text: str, at: float, height: float, taken: Sequence[Box]
) -> tuple[float, float] | None:
    """Where a text beside a point begins, so that it lies on nothing; None if there is no room."""
    left = at - 7 - LETTER * len(text)
    places = [(begin, base) for begin in (at + 7, left) for base in (height - 8, height + 17)]
    for place in places:
        box = _box(text, *place)
        if _is_inside(box) and not any(_overlap(box, other) for other in taken):
            return place
    return None


def _box(text: str, begin: float, base: float) -> Box:
    return begin, base - 11, begin + LETTER * len(text), base + 3


def _is_inside(box: Box) -> bool:
    return box[0] >= LEFT and box[2] <= RIGHT and box[1] >= TOP and box[3] <= BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, at least so large."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= about)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    own = f' class="{kind}"' if kind else ""
    return f'<text{own} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
