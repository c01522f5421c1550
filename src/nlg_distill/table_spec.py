"""What a table is, as data from conf/table: its rows, their seeds, and what it is to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_distill.errors import UserError

BEST_STUDENT = "best student"


@dataclass(frozen=True)
class Column:
    """One column: its head, where its number is, and how it is written.

    Args:
        head: what stands above it.
        metric: path in a run's metrics, such as `beam_5/bleu` or `further_tests/ui/beam_5/bleu`.
        form: format of the number.
        difference: whether it is the mean's difference to the baseline's.
        fixed: whether seeds usually share the number, which is then written alone.
        at_equal_time: whether the part at equal training time shows it too; no difference is.
    """

    head: str
    metric: str
    form: str
    difference: bool = False
    fixed: bool = False
    at_equal_time: bool = True

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        try:
            format(0.5, self.form)
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.head}: form={self.form!r} formats no number") from error


BLEU = (
    Column("BLEU K=1", "beam_1/bleu", ".1f"),
    Column("Δ", "beam_1/bleu", "+.1f", difference=True),
    Column("BLEU K=5", "beam_5/bleu", ".1f"),
    Column("Δ", "beam_5/bleu", "+.1f", difference=True),
)
OTHER_QUALITY = (
    Column("chrF", "beam_5/chrf", ".1f", at_equal_time=False),
    Column("PPL", "perplexity", ".1f"),
    Column("p(ŷ)", "mode_probability", ".2%", at_equal_time=False),
)


@dataclass(frozen=True, kw_only=True)
class Best:
    """What makes the best student: the `max` or the `min` of a metric."""

    metric: str
    mode: str = "max"

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        if self.mode not in ("max", "min"):
            raise UserError(f"best: mode must be max or min, got {self.mode}")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a table is to show: a row's metric, minus or over another row's, and its bound."""

    claim: str
    row: str
    metric: str
    at_least: float
    minus: str | None = None
    over: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: the experiment that makes it, and overrides of its own."""

    row: str
    experiment: str
    overrides: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """A table as data, from conf/table.

    Args:
        title: the table's head.
        baseline: the row that differences are to.
        rows: in the order in which they are shown.
        overrides: of every row.
        claims: what the table is to show.
        seeds: each student is trained once with each; if none are given, with the config's seed.
        equal_seconds: whether each student is also trained for about the baseline's seconds.
        scores: the columns before those of the costs; if none are given, those of translation.
        best: what makes the best student.
    """

    title: str
    baseline: str
    rows: Sequence[Row]
    overrides: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    seeds: Sequence[int] = ()
    equal_seconds: bool = False
    scores: Sequence[Column] = (*BLEU, *OTHER_QUALITY)
    best: Best = Best(metric="beam_5/bleu")

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        known = {row.row for row in self.rows}
        if len(known) < len(self.rows):
            raise UserError("two rows have the same name")
        named = {self.baseline}
        named |= {n for c in self.claims for n in (c.row, c.minus, c.over) if n} - {BEST_STUDENT}
        if unknown := named - known:
            raise UserError(f"it names rows that it does not have: {', '.join(sorted(unknown))}")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds must be different, got {self.seeds}")

    @property
    def metrics(self) -> list[str]:
        """Every path in a run's metrics that the table needs, but for the costs."""
        named = [column.metric for column in self.scores] + [claim.metric for claim in self.claims]
        return list(dict.fromkeys([*named, self.best.metric]))

    def row_overrides(self, row: Row, extra: Sequence[str] = ()) -> tuple[str, ...]:
        """What one row is made with, without a seed; `extra` is what the user gave.

        Raises:
            UserError: if they choose a seed although the table does.
        """
        overrides = (*self.overrides, f"experiment={row.experiment}", *row.overrides, *extra)
        if self.seeds and (chosen := [o for o in overrides if o.lstrip("+").startswith("seed=")]):
            raise UserError(
                f"{row.row}: leave out {chosen[-1]}, the table's seeds are {self.seeds}"
            )
        return overrides


def load_spec(path: Path) -> TableSpec:
    """A table's spec from its file.

    Raises:
        UserError: if there is no such file, or it does not describe a table.
    """
    import yaml

    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"there is no table {path.stem!r}; there are {names}")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        _check_types(raw.get("seeds", []), raw.get("equal_seconds", False))
        rows = [Row(**row) for row in raw.pop("rows")]
        claims = [Claim(**claim) for claim in raw.pop("claims", [])]
        if "scores" in raw:
            raw["scores"] = [Column(**column) for column in raw["scores"]]
        if "best" in raw:
            raw["best"] = Best(**raw["best"])
        return TableSpec(rows=rows, claims=claims, **raw)
    except (TypeError, KeyError, AttributeError, UserError) as error:
        raise UserError(f"{path} does not describe a table: {error}") from error


def _check_types(seeds: Any, equal_seconds: Any) -> None:
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise UserError(f"seeds must be a list of whole numbers, got {seeds!r}")
    if not isinstance(equal_seconds, bool):
        raise UserError(f"equal_seconds must be true or false, got {equal_seconds!r}")
