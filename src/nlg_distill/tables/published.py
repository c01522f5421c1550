"""Numbers that a paper published for the rows of a table, and how sure we are of each.

A number stands in a table's file with its mark, such as `17.7 V` or `1.3% V`:

- `V`: verified in a public source,
- `D`: derived from verified numbers,
- `M`: recalled, and not verified; shown with an asterisk, and no run is judged by it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nlg_distill.errors import UserError

WRITTEN = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?)(%?) ([VDM])")


class Mark(StrEnum):
    """How sure we are of a number."""

    VERIFIED = "V"
    DERIVED = "D"
    RECALLED = "M"


@dataclass(frozen=True)
class Value:
    """One published number.

    Args:
        number: in the unit of the metric it is compared with: 1.3% is 0.013.
        written: as it was published.
        mark: how sure we are of it.
    """

    number: float
    written: str
    mark: Mark

    @classmethod
    def read(cls, text: object) -> "Value":
        """A number with its mark.

        Raises:
            UserError: if it is not one.
        """
        found = WRITTEN.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UserError(
                f"a published number is written with its mark, as in '17.7 V' or '1.3% M' (V "
                f"verified, D derived, M recalled), got {text!r}"
            )
        number, percent, mark = found.groups()
        value = float(number.replace(",", ""))
        return cls(value / 100 if percent else value, number + percent, Mark(mark))

    @property
    def is_known(self) -> bool:
        """Whether a run may be judged by it."""
        return self.mark != Mark.RECALLED

    def __str__(self) -> str:
        """As it is shown: with an asterisk if it is not verified."""
        return self.written if self.is_known else f"{self.written}*"


@dataclass(frozen=True, kw_only=True)
class PublishedColumn:
    """What a paper's column holds.

    Args:
        head: what stands above it.
        metric: where a run has the same, as in a `Column`; its beam says how texts were written.
        form: format of a difference between two numbers as they are published.
        tolerance: differences that are not larger than this say nothing, and nothing is judged by
            them; in the unit of the metric.
    """

    head: str
    metric: str
    form: str
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        try:
            format(0.5, self.form)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.head}: form={self.form!r} formats no number") from error
        if self.tolerance < 0:
            raise UserError(f"{self.head}: tolerance must not be negative, got {self.tolerance}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What one source says of the rows of a table in one setting.

    Args:
        name: for people, such as `WMT14 En-De`; no two of a table are the same.
        source: the paper and its table, and how its numbers were verified.
        columns: what it gives numbers of.
        rows: by the table's names of rows, a number for each column, or None where there is none.
    """

    name: str
    source: str
    columns: Sequence[PublishedColumn]
    rows: Mapping[str, Sequence[Value | None]]

    @classmethod
    def read(
        cls,
        *,
        name: str,
        source: str,
        columns: Sequence[Mapping[str, Any]],
        rows: Mapping[str, Sequence[object]],
    ) -> "Published":
        """From a table's file, where a missing number is null.

        Raises:
            UserError: at a number that is not written with its mark, or a row with too few.
        """
        heads = [PublishedColumn(**c) for c in columns]
        for row, values in rows.items():
            if not isinstance(values, list) or len(values) != len(heads):
                raise UserError(
                    f"{name}: {row} needs {len(heads)} published numbers, one for each column, or "
                    f"null, got {values}"
                )
        read = {
            row: [None if value is None else Value.read(value) for value in values]
            for row, values in rows.items()
        }
        return cls(name=name, source=source, columns=heads, rows=read)

    def value(self, row: str, column: PublishedColumn) -> Value | None:
        """The number of a row; None where there is none."""
        return self.rows[row][list(self.columns).index(column)] if row in self.rows else None

    def difference(self, row: str, other: str, column: PublishedColumn) -> float | None:
        """By how much a row is above another one; None if there are not both numbers."""
        a, b = self.value(row, column), self.value(other, column)
        return None if a is None or b is None else a.number - b.number

    def known_difference(self, row: str, other: str, column: PublishedColumn) -> float | None:
        """The difference, if a run may be judged by both numbers and it is above the tolerance."""
        a, b = self.value(row, column), self.value(other, column)
        if a is None or b is None or not (a.is_known and b.is_known):
            return None
        difference = round(a.number - b.number, 9)  # 18.1 - 17.6 is 0.5
        return difference if abs(difference) > column.tolerance else None

    def is_unverified(self, column: PublishedColumn) -> bool:
        """Whether a number in a column is shown with an asterisk."""
        values = (self.value(row, column) for row in self.rows)
        return any(value is not None and not value.is_known for value in values)
