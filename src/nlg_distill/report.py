"""What a run shows at its end."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from nlg_distill.runs.metric_facts import how_written
from nlg_distill.stages.scores import DRAWN
from nlg_distill.store import Store, metadata
from nlg_distill.tables.parts import Part
from nlg_distill.tables.sections import Section
from nlg_distill.tables.spec import Column
from nlg_distill.tables.table import EQUAL_TIME
from nlg_distill.tables.table import Table as FinishedTable

console = Console(markup=False)


def show_corpus(cfg: DictConfig, corpus: Path, further_tests: Path | None = None) -> None:
    """The corpus's licence and the hygiene report, of further test sets too."""
    report = json.loads((corpus / "hygiene.json").read_text(encoding="utf-8"))
    table = Table("split", "pairs", "source words", "target words", "near-duplicates in train")
    lines = [f"lines: {_left_out(report)}"]
    for name in ("train", "validation", "test"):
        table.add_row(name, *_facts(report[name]))
    if further_tests is not None:
        others = json.loads((further_tests / "hygiene.json").read_text(encoding="utf-8"))
        for name, other in others.items():
            table.add_row(name, *_facts(other))
            lines.append(f"{name}: {_left_out(other)}")
    table.caption = "\n".join(lines)
    if cfg.data.licence:
        console.print(f"Corpus: {cfg.data.attribution}. Licence: {cfg.data.licence}.")
    console.print(table)


def _facts(facts: dict[str, Any]) -> list[str]:
    """What a row says of a split."""
    near = facts.get("near_duplicates_in_train")
    return [
        f"{facts['pairs']:,}",
        *(_words(facts[side]) for side in ("source", "target")),
        "{source} sources, {target} targets, {pair} pairs".format(**near) if near else "",
    ]


def _words(side: dict[str, Any]) -> str:
    longest = side["longest_words"]
    return f"{side['mean_words']} (longest {longest})" if longest else "none"


def _left_out(report: dict[str, Any]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in report["cleaning"].items())


def show_result(result: dict[str, Any], folder: Path) -> None:
    """The scores of one run, on its test set and on further ones."""
    given = [o for o in result["overrides"] if not o.startswith("experiment=")]
    title = " ".join([result["name"], *given])
    _show_scores(title, result)
    if "parameters" not in result:
        console.print(f"A black box, of which its texts are known. Written to {folder}")
        return
    further: dict[str, dict[str, Any]] = result.get("further_tests", {})
    for name, scores in further.items():
        _show_scores(f"{result['name']} on {name}", scores)
    made = "Decoding" if _beams(result) else "Scoring"
    console.print(
        f"{_likelihood(result)}; {result['parameters']:,} parameters, "
        f"{result['megabytes']:.1f} MB, trained {result['training_seconds']:.0f} s"
        f"{'' if result['trained_now'] else ', found in the store'}. "
        f"{made}: {result['decoding']['threads']} thread(s), batches of "
        f"{result['decoding']['batch_tokens']} tokens, {result['decoding']['precision']}."
    )
    for name, scores in further.items():
        console.print(f"{name}: {_likelihood(scores)}, {scores['sentences']:,} sentences")
    console.print(f"Written to {folder}")


def _likelihood(scores: dict[str, Any]) -> str:
    found = f"perplexity {scores['perplexity']:.1f}, {scores['bits_per_byte']:.2f} bits per byte"
    if "mode_probability" in scores:
        found += f", p(ŷ) {scores['mode_probability']:.2%}"
    return found


def _show_scores(title: str, scores: dict[str, Any]) -> None:
    """A metric to a row, a beam or what was drawn to a column; nothing if nothing was written."""
    ways = [*_beams(scores), *(way for way in (DRAWN,) if way in scores)]
    if not ways:
        return
    table = Table("", *(name.replace("_", " ") for name in ways))
    for name, value in scores[ways[0]].items():
        if isinstance(value, int | float):
            label, form = how_written(name)
            cells = (format(scores[w][name], form) if name in scores[w] else "" for w in ways)
            table.add_row(label, *cells)
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)


def _beams(result: dict[str, Any]) -> list[str]:
    return [key for key in result if key.startswith("beam_")]


def show_table(finished: FinishedTable, folder: Path) -> None:
    """A table in the terminal, in parts that fit 80 columns; how to use its best student."""
    scores = finished.spec.scores
    at_once = 4 if finished.has_several_seeds else 7  # a deviation doubles a cell
    for begin in range(0, len(scores), at_once):
        title = "Other scores" if begin else finished.spec.title
        _show_part(title, finished.part, scores[begin : begin + at_once])
    for begin in range(0, len(finished.cost), at_once):
        title = "More of it" if begin else "What it costs"
        _show_part(title, finished.part, finished.cost[begin : begin + at_once])
    notes = finished.notes()
    if finished.spec.equal_seconds:
        _show_part(EQUAL_TIME, finished.equal_time, finished.equal_time_columns)
        notes.append(f"{EQUAL_TIME}: {finished.equal_time_note()}")
    for note in notes:
        console.print(f"- {note}", highlight=False, soft_wrap=True)
    told: set[str] = set()
    for section in finished.sections():
        _show_section(section, told)
    console.print(f"Written to {folder}/table.md, table.csv and table.json", soft_wrap=True)
    if best := finished.best_student():
        _show_use(best, Path(finished.part.first(best).artifact))


def _show_part(title: str, part: Part, columns: Sequence[Column]) -> None:
    table = Table("", title=title)
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    for row in part.rows:
        table.add_row(row, *part.cells(row, columns))
    console.print(table)


def _show_section(section: Section, told: set[str]) -> None:
    """What stands below a table; notes that were `told` before are not told again."""
    table = Table("", *section.heads, title=section.title)
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
    for note in section.notes:
        if note not in told:
            console.print(f"- {note}", highlight=False, soft_wrap=True)
    told |= {*section.notes}


def _show_use(row: str, scores: Path) -> None:
    """How to write with the student that these are the scores of."""
    model = json.loads((scores / "result.json").read_text(encoding="utf-8"))["artifacts"]["model"]
    source = json.loads((scores / "samples.jsonl").read_text("utf-8").split("\n")[0])["source"]
    if not source:  # nothing to write for
        return
    quoted = json.dumps(source, ensure_ascii=False)
    console.print(
        f"Write with the best student ({row}):\n"
        f"  nlg-distill generate {scores.parents[1] / model} {quoted}",
        soft_wrap=True,
        highlight=False,
    )


def show_store(store: Store) -> None:
    """Every artifact, oldest first."""
    entries = [(metadata(path), path) for path in store.entries()]
    users = Counter(parent for facts, _ in entries for parent in facts["parents"].values())
    table = Table("made", "seconds", "MB", "used by")
    table.add_column("artifact", no_wrap=True)
    for facts, path in sorted(entries, key=lambda entry: str(entry[0]["made"])):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        name = f"{path.parent.name}/{path.name}"
        numbers = (f"{facts['seconds']:,.0f}", f"{size / 1e6:,.1f}", f"{users[name]}")
        table.add_row(facts["made"].removesuffix("+00:00"), *numbers, name)
    console.print(table)
    if unfinished := list(store.unfinished()):
        console.print(
            f"{len(unfinished)} unfinished: the run that began one goes on with it; "
            f"nlg-distill store rm --unfinished deletes them"
        )
