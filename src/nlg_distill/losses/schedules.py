"""Numbers that change with the training's progress: of `anneal`, `temperature` and `share`."""

import math
from dataclasses import dataclass

from nlg_distill.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LinearSchedule:
    """A straight line from `start` at progress 0 to `end` at progress `until`, then `end`."""

    start: float
    end: float
    until: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what has no effect or no meaning."""
        _check(self.start, self.end, self.until)

    def __call__(self, progress: float) -> float:
        """The number at this progress, in [0, 1]."""
        return self.start + (self.end - self.start) * min(1.0, progress / self.until)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Half a cosine from `start` at progress 0 to `end` at progress `until`, then `end`."""

    start: float
    end: float
    until: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what has no effect or no meaning."""
        _check(self.start, self.end, self.until)

    def __call__(self, progress: float) -> float:
        """The number at this progress, in [0, 1]."""
        gone = 0.5 * (1.0 - math.cos(math.pi * min(1.0, progress / self.until)))
        return self.start + (self.end - self.start) * gone


@dataclass(frozen=True, kw_only=True)
class ExponentialSchedule:
    r"""From `start` ever nearer to `end`: what is missing shrinks by `base` over the training.

    $\mathrm{end} - (\mathrm{end} - \mathrm{start}) \, \mathrm{base}^{-\mathrm{progress}}$.
    """

    start: float
    end: float
    base: float

    def __post_init__(self) -> None:
        """Refuses what has no effect or no meaning."""
        _check(self.start, self.end, 1.0)
        if self.base <= 1:
            raise UserError(f"base must be above 1, got {self.base}")

    def __call__(self, progress: float) -> float:
        """The number at this progress, in [0, 1]."""
        missing: float = self.base**-progress
        return self.end - (self.end - self.start) * missing


def _check(start: float, end: float, until: float) -> None:
    if start < 0 or end < 0:
        raise UserError(f"start and end must be at least 0, got start={start}, end={end}")
    if start == end:
        raise UserError(f"start and end are both {start}: a schedule that does nothing")
    if not 0 < until <= 1:
        raise UserError(f"until must be in (0, 1], got {until}")
