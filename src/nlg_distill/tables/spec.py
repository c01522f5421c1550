"""What a table is, as data from conf/table: its rows, their seeds, and what it is to show."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nlg_distill.errors import UserError
from nlg_distill.tables.claims import BEST_STUDENT, Claim
from nlg_distill.tables.published import Published


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
class Row:
    """A row of a table: the experiment that makes it, and overrides of its own.

    Args:
        row: its name.
        experiment: a file of conf/experiment.
        overrides: of this row.
        cpu: more of them at the scale `cpu`.
        paper: more of them at the scale `paper`.
        baseline: what its differences are to, if not the table's baseline. Such a row is compared
            with that alone, and is never the best student.
    """

    row: str
    experiment: str
    overrides: Sequence[str] = ()
    cpu: Sequence[str] = ()
    paper: Sequence[str] = ()
    baseline: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One size of a table: overrides of every row, and what differs from the paper's setting."""

    differs: str
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
        published: what papers say of these rows.
        cpu: the size for two cores, which is made if none is asked for.
        paper: the paper's size.
        alone: whether its jobs run one at a time, for speeds that are to be compared.
        samples: how many test texts are shown below, with what each row wrote of them.
        differs: what differs from the paper's setting, of the scale that was chosen.
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
    published: Sequence[Published] = ()
    cpu: Scale | None = None
    paper: Scale | None = None
    alone: bool = False
    samples: int = 0
    differs: str | None = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        known = {row.row for row in self.rows}
        if len(known) < len(self.rows):
            raise UserError("two rows have the same name")
        named = {self.baseline} | {row.baseline for row in self.rows if row.baseline}
        named |= {n for c in self.claims for n in (c.row, c.other) if n} - {BEST_STUDENT}
        named |= {row for published in self.published for row in published.rows}
        if unknown := named - known:
            raise UserError(f"it names rows that it does not have: {', '.join(sorted(unknown))}")
        if itself := [row.row for row in self.rows if row.row == row.baseline]:
            raise UserError(f"{itself[0]} cannot be its own baseline: leave it out")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds must be different, got {self.seeds}")
        if (self.cpu is None) != (self.paper is None):
            raise UserError("it has one of the scales cpu and paper: give both, or none")
        if self.cpu is None and any(row.cpu or row.paper for row in self.rows):
            raise UserError("a row has overrides of a scale, and the table has no scales")
        names = [published.name for published in self.published]
        if len(set(names)) < len(names):
            raise UserError(f"published numbers need different names, got {names}")

    @property
    def metrics(self) -> list[str]:
        """Every path in a run's metrics that the table needs, but for the costs."""
        named = [column.metric for column in self.scores]
        named += [m for c in self.claims for m in (c.metric, c.other_metric) if m]
        named += [column.metric for published in self.published for column in published.columns]
        return list(dict.fromkeys([*named, self.best.metric]))

    def baseline_of(self, row: str) -> str | None:
        """What a row's differences are to; None of the baseline."""
        if row == self.baseline:
            return None
        return next(r.baseline for r in self.rows if r.row == row) or self.baseline

    def at_scale(self, scale: str | None) -> "TableSpec":
        """The table at one of its scales, at `cpu` if None, the only one of a table without scales.

        Raises:
            UserError: if it has not this one.
        """
        if self.cpu is None or self.paper is None:
            if scale not in (None, "cpu"):
                raise UserError(
                    f"this table has one size: leave out --scale {scale}, and change the size by "
                    f"overrides"
                )
            return self
        scales = {"cpu": self.cpu, "paper": self.paper}
        name = scale or "cpu"
        if name not in scales:
            raise UserError(f"--scale must be cpu or paper, got {name}")
        rows = [replace(r, overrides=(*r.overrides, *getattr(r, name))) for r in self.rows]
        overrides = (*self.overrides, *scales[name].overrides)
        return replace(self, rows=rows, overrides=overrides, differs=scales[name].differs)

    def with_seeds(self, number: int | None) -> "TableSpec":
        """The table with its first seeds, counted on if there are fewer; with its own if None.

        Raises:
            UserError: if the number is not positive.
        """
        if number is None:
            return self
        if number < 1:
            raise UserError(f"--seeds must be positive, got {number}")
        first = max(self.seeds, default=0) + 1
        seeds = [*self.seeds, *range(first, first + number)][:number]
        return replace(self, seeds=seeds)

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


def load_spec(path: Path, scale: str | None = None, seeds: int | None = None) -> TableSpec:
    """A table's spec from its file, at a scale and with so many seeds.

    Raises:
        UserError: if there is no such file, it does not describe a table, or has no such scale.
    """
    return _read(path).at_scale(scale).with_seeds(seeds)


def _read(path: Path) -> TableSpec:
    import yaml

    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"there is no table {path.stem!r}; there are {names}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        _refuse_unknown(raw)
        _check_types(raw)
        rows = [Row(**row) for row in raw.pop("rows")]
        claims = [Claim(**claim) for claim in raw.pop("claims", [])]
        published = [Published.read(**p) for p in raw.pop("published", [])]
        if "scores" in raw:
            raw["scores"] = [Column(**column) for column in raw["scores"]]
        if "best" in raw:
            raw["best"] = Best(**raw["best"])
        raw |= {name: Scale(**raw[name]) for name in ("cpu", "paper") if name in raw}
        return TableSpec(rows=rows, claims=claims, published=published, **raw)
    except (TypeError, KeyError, AttributeError, UserError) as error:
        raise UserError(f"{path} does not describe a table: {error}") from error


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(TableSpec)]
    if unknown := sorted(set(raw) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UserError(f"nothing reads {unknown[0]}: {hint}")


def _check_types(raw: dict[str, Any]) -> None:
    seeds = raw.get("seeds", [])
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise UserError(f"seeds must be a list of whole numbers, got {seeds!r}")
    for name in ("equal_seconds", "alone"):
        if not isinstance(raw.get(name, False), bool):
            raise UserError(f"{name} must be true or false, got {raw[name]!r}")
    samples = raw.get("samples", 0)
    if type(samples) is not int or samples < 0:
        raise UserError(f"samples must be a whole number, 0 or more, got {samples!r}")
    if "differs" in raw:
        raise UserError("differs belongs to a scale: give it under cpu and paper")
