"""A table of finished runs: rows, differences to the baseline, and what the table is to show."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from nlg_distill.runs.metric_facts import how_written
from nlg_distill.store import write_json
from nlg_distill.tables.claims import BEST_STUDENT, Claim
from nlg_distill.tables.origin import Origin
from nlg_distill.tables.parts import SECONDS, Part, Run, known, lookup
from nlg_distill.tables.resampling import LEVEL, Tests
from nlg_distill.tables.samples import samples_section
from nlg_distill.tables.sections import (
    SIGNIFICANT,
    Section,
    findings,
    shape_sections,
    significance_sections,
)
from nlg_distill.tables.spec import Column, TableSpec
from nlg_distill.tables.verdicts import judge_claim

__all__ = ["COST", "EQUAL_TIME", "Part", "Run", "Table", "known", "lookup"]
EQUAL_TIME = "At equal training time"
COST = (
    Column("parameters", "parameters", ",.0f", fixed=True),
    Column("MB", "megabytes", ".1f", fixed=True),
    Column("words/s K=1", "beam_1/source_words_per_second", ",.0f"),
    Column("words/s K=5", "beam_5/source_words_per_second", ",.0f"),
    Column("s trained", SECONDS, ",.0f"),
    Column("s of teachers", "teacher_seconds", ",.0f", fixed=True),
    Column("peak MB", "peak_megabytes", ",.0f"),
)


@dataclass
class Table:
    """The finished runs of a table; those at equal training time where it asks for them.

    `origin` is what it was made with; a table that nothing made has none.
    """

    spec: TableSpec
    runs: Sequence[Run]
    equal_time_runs: Sequence[Run] = field(default_factory=list)
    tests: Tests = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def part(self) -> Part:
        """The rows at their own steps."""
        own = {row.row: row.baseline for row in self.spec.rows if row.baseline}
        clear = {at: SIGNIFICANT for at, t in self.tests.items() if t.is_clear_throughout}
        return Part(self.runs, self.spec.baseline, own, clear)

    @property
    def equal_time(self) -> Part:
        """The students at the baseline's seconds."""
        return Part(self.equal_time_runs, self.spec.baseline)

    @property
    def cost(self) -> tuple[Column, ...]:
        """The columns of the costs that are known of a run; where nobody writes, no speed is."""
        return tuple(c for c in COST if any(known(run.metrics, c.metric) for run in self.runs))

    @property
    def _first(self) -> Run:
        """The first run of a model of ours: of a black box, nothing is known but its texts."""
        return next(run for run in self.runs if "decoding" in run.metrics)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the first part."""
        return (*self.spec.scores, *self.cost)

    @property
    def equal_time_columns(self) -> tuple[Column, ...]:
        """Scores at equal training time, and what they took."""
        scores = (c for c in self.spec.scores if c.at_equal_time and not c.difference)
        steps = Column("steps", "steps", ",.0f", fixed=True)
        return (*scores, steps, Column("seconds", SECONDS, ",.0f"))

    @property
    def has_several_seeds(self) -> bool:
        """Whether a student's numbers are means."""
        return len(self.spec.seeds) > 1

    def best_student(self) -> str | None:
        """The student with the best mean of the metric that the table names for that."""
        part, best = self.part, self.spec.best
        apart = part.own_baselines
        students = [row for row in part.rows if not part.is_teacher(row) and row not in apart]
        students = [row for row in students if isfinite(part.mean(row, best.metric))]
        choose = max if best.mode == "max" else min
        return choose(students, key=lambda row: part.mean(row, best.metric), default=None)

    def notes(self) -> list[str]:
        """Each claim with its number, whether it holds or not; and how the scores were made."""
        notes = [self._judge(claim) for claim in self.spec.claims]
        if self.has_several_seeds:
            seeds = ", ".join(map(str, self.spec.seeds))
            notes.append(
                f"Students: mean ± sample standard deviation over {len(self.spec.seeds)} seeds "
                f"({seeds}), all of one teacher; Δ and claims are of means."
            )
        if self.part.marks:
            notes.append(
                f"{SIGNIFICANT}: at every seed, paired bootstrap and approximate randomisation "
                f"on the test set both have p < {LEVEL} against the row's baseline."
            )
        if self.spec.differs:
            notes.append(f"Not the paper's setting: {self.spec.differs}")
        return [*notes, self._scores_note(), self._cost_note()]

    def sections(self) -> list[Section]:
        """Beside the published numbers, and the tests on the test set."""
        shape = shape_sections(self.spec, self.part, self.tests)
        return [*shape, *significance_sections(self.spec, self.part, self.tests)]

    def _scores_note(self) -> str:
        """How many texts were scored, and how the numbers were made."""
        first = self._first.metrics
        note = f"Scores on {first['decoding']['sentences']:,} test sentences."
        made = []
        for key, signature in first.get("beam_1", {}).items():
            name, separator, _ = key.partition("_signature")
            if separator:
                shown = {c.metric for c in self.spec.scores if c.metric.split("/")[-1] == name}
                way = shown.pop().split("/")[-2] if len(shown) == 1 else ""
                told = f" ({way.replace('beam_', 'K=')})" if way else ""
                made.append(f"{how_written(name)[0]}{told}: {signature}")
        further = first.get("further_tests", {}).items()
        sizes = [f" {name}: {scores['sentences']:,} sentences." for name, scores in further]
        return f"{note} {'; '.join(made)}{'.' if made else ''}".rstrip() + "".join(sizes)

    def _cost_note(self) -> str:
        """What speed and seconds are of."""
        first = self._first.metrics
        decoding = first["decoding"]
        beside = "were made" if self.spec.alone else "may have trained"
        speed = (
            f"Words/s: source words, {decoding['threads']} thread(s), batches of "
            f"{decoding['batch_tokens']} tokens, {decoding['precision']}, on {first['machine']}; "
            f"{'no' if self.spec.alone else 'other'} rows {beside} beside it. "
        )
        notes = ["Seconds include the training that a row starts from."]
        shown = {column.metric for column in self.cost}
        if "teacher_seconds" in shown:
            notes.append(
                "Those of teachers are of their trainings, texts and stored signals, in full for "
                "each row; what a live one does at each step is in the seconds trained."
            )
        if "peak_megabytes" in shown:
            notes.append("Peak MB: the most memory that the training's process held.")
        return (speed if "beam_1" in first else f"On {first['machine']}. ") + " ".join(notes)

    def equal_time_note(self) -> str:
        """How the second part was made."""
        seconds = self.part.fastest(self.spec.baseline)
        return (
            f"Each student again, with its steps scaled so that it trains for about the "
            f"{seconds:,.0f} s of {self.spec.baseline}, by the seconds that each one's fastest run "
            f"took at equal steps."
        )

    def markdown(self) -> str:
        """The table and its notes."""
        lines = [f"# {self.spec.title}", "", *self.part.markdown(self.columns), ""]
        lines += [f"- {note}" for note in self.notes()]
        for section in self.sections():
            lines += ["", *section.markdown()]
        if self.spec.equal_seconds:
            lines += [
                "",
                f"## {EQUAL_TIME}",
                "",
                *self.equal_time.markdown(self.equal_time_columns),
            ]
            lines += ["", f"- {self.equal_time_note()}"]
        if self.spec.samples:
            lines += ["", *samples_section(self.part, self.spec.samples)]
        if self.origin:
            lines += ["", *self.origin.markdown()]
        return "\n".join([*lines, ""])

    def csv(self) -> str:
        """One line per run, every metric unrounded."""
        text = io.StringIO()
        metrics = list(dict.fromkeys(column.metric for column in self.columns))
        metrics += ["steps"] if self.spec.equal_seconds else []
        writer = csv.writer(text)
        for number, (run, facts) in enumerate(self._runs_and_facts()):
            if number == 0:
                writer.writerow(["row", *facts, *metrics, "run"])
            values = [lookup(run.metrics, m) if known(run.metrics, m) else "" for m in metrics]
            writer.writerow([run.row, *facts.values(), *values, run.artifact])
        return text.getvalue()

    def json(self) -> list[dict[str, Any]]:
        """One entry per run, with all that is known of it."""
        return [
            {"row": run.row, "metrics": run.metrics, "run": run.artifact, **facts}
            for run, facts in self._runs_and_facts()
        ]

    def _runs_and_facts(self) -> list[tuple[Run, dict[str, Any]]]:
        """All runs, each with its seed and what it has equal, where the table has several."""
        parts = {"steps": self.runs, "seconds": self.equal_time_runs}
        return [
            (
                run,
                {
                    **({"seed": run.seed} if self.has_several_seeds else {}),
                    **({"equal": equal} if self.spec.equal_seconds else {}),
                },
            )
            for equal, runs in parts.items()
            for run in runs
        ]

    def write(self, folder: Path) -> None:
        """`table.md`, `table.csv` and `table.json`; what was tested and judged, if anything was."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "table.csv").write_text(self.csv(), encoding="utf-8")
        write_json(folder / "table.json", self.json())
        if found := findings(self.spec, self.part, self.tests):
            write_json(folder / "findings.json", found)

    def _judge(self, claim: Claim) -> str:
        row = self.best_student() if claim.row == BEST_STUDENT else claim.row
        if row is None:
            return f"{claim.claim}: no student has a {self.spec.best.metric} that is a number."
        shown = f"{self.part.mean(row, claim.metric):.4g}"
        if claim.other:
            reference = self.part.mean(claim.other, claim.other_metric or claim.metric)
            shown += f" against {reference:.4g}"
        verdict = judge_claim(self.spec, self.part, self.tests, claim, row)
        return f"{claim.claim}: {verdict} ({row}: {shown}, bound {claim.at_least:g})."
