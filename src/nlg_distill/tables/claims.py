"""What a table is to show, in a sentence with a bound; `tables.verdicts` says when one holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from nlg_distill.errors import UserError

BEST_STUDENT = "best student"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a table is to show: a row's metric, minus or over another row's, and its bound.

    Args:
        claim: a sentence.
        row: whose number it is.
        metric: path in its metrics.
        at_least: the bound, of the number itself, its difference or its ratio.
        minus: the row whose number is subtracted.
        over: the row that it is divided by.
        other_metric: path in that row's metrics, if it is not the same.
    """

    claim: str
    row: str
    metric: str
    at_least: float
    minus: str | None = None
    over: str | None = None
    other_metric: str | None = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        if self.minus and self.over:
            raise UserError(f"{self.claim}: give minus or over, not both")
        if self.other_metric and not self.other:
            raise UserError(f"{self.claim}: other_metric is of the row in minus or over: give one")

    @property
    def other(self) -> str | None:
        """The row that it is compared with."""
        return self.minus or self.over

    @property
    def is_of_sign(self) -> bool:
        """Whether it says no more than which of two numbers is larger."""
        return self.at_least == (0.0 if self.minus else 1.0) and self.other is not None

    def needed(self, theirs: Sequence[float]) -> list[float]:
        """What the row's numbers must reach on average; `theirs` are the other row's, if any."""
        if self.minus:
            return [value + self.at_least for value in theirs]
        return [value * self.at_least for value in theirs] if self.over else [self.at_least]
