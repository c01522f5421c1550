"""What a reader of a comparison has to know, and what cannot be compared in it."""

from collections.abc import Iterable, Sequence

from nlg_distill.comparing.comparability import signature
from nlg_distill.comparing.comparison import Comparison
from nlg_distill.runs.grouping import Group
from nlg_distill.runs.metric_facts import how_written
from nlg_distill.tables.parts import SECONDS


def warnings(comparison: Comparison) -> list[str]:
    """What cannot be compared, or is not what it looks like."""
    found = [*_unlike(comparison), *_beams(comparison.rows)]
    for row in comparison.rows:
        found += _mixed(row)
    if comparison.unfinished:
        counts = ", ".join(f"{n} {status}" for status, n in sorted(comparison.unfinished.items()))
        found.append(f"Not in the table: {counts}; nlg-distill runs lists them.")
    shown = {column.metric for column in comparison.columns}
    unknown = [
        row.label for row in comparison.rows if any(r.teacher_work is None for r in row.runs)
    ]
    if unknown and shown & {"teacher_seconds", "seconds_with_teachers"}:
        found.append(
            f"What teachers took is not known of {_some(unknown)}: the store does not have what "
            f"their models were made from."
        )
    return found


def notes(comparison: Comparison) -> list[str]:
    """How the numbers were made."""
    found = _seeds(comparison.rows)
    cells = (comparison.cell(row, c) for row in comparison.rows for c in comparison.columns)
    if any(cell is not None and cell.is_best for cell in cells):
        aside = len({row.is_teacher for row in comparison.rows}) > 1
        found.append(f"Bold: the best mean of a column{', teachers aside' if aside else ''}.")
    if comparison.baseline is not None:
        found.append(f"Δ: the mean's difference to that of {comparison.baseline.label}.")
    if comparison.repeated:
        found.append(f"Runs that were there again, and count once: {comparison.repeated}.")
    return [*found, *_scores(comparison), *_costs(comparison)]


def _unlike(comparison: Comparison) -> list[str]:
    """Each condition in which rows differ, with the columns that it spoils."""
    heads: dict[tuple[str, str], list[str]] = {}
    for column in comparison.columns:
        for name, values in comparison.unlike.get(column.metric, {}).items():
            told = "; ".join(f"{value} ({_some(rows)})" for value, rows in values.items())
            heads.setdefault((name, told), []).append(column.head)
    return [
        f"NOT COMPARABLE between rows: {', '.join(columns)}. The {name} differs: {told}."
        for (name, told), columns in heads.items()
    ]


def _beams(rows: Sequence[Group]) -> list[str]:
    """Rows that were decoded with other beams, if there are any."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for run in row.runs:
            beams = ", ".join(key[5:] for key in run.result if key.startswith("beam_"))
            found.setdefault(beams, []).append(row.label)
    if len(found) < 2:
        return []
    told = "; ".join(f"{beams or 'none'} ({_some(labels)})" for beams, labels in found.items())
    return [f"Beam sizes differ: {told}."]


def _mixed(row: Group) -> list[str]:
    """In what the runs of a row differ beside the seed."""
    differing = row.mixed()
    if differing:
        told = [f"{key} ({', '.join(values)})" for key, values in list(differing.items())[:4]]
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        return [f"{row.label} is of runs that differ in {'; '.join(told)}{more}."]
    again = sorted({seed for seed in row.seeds if row.seeds.count(seed) > 1})
    if again:
        folders = [str(run.run.folder) for run in row.runs if run.result["seed"] == again[0]]
        return [
            f"{row.label} has several runs of seed {again[0]} with other results, though their "
            f"settings are the same, as when a file or the code has changed: {', '.join(folders)}."
        ]
    return []


def _seeds(rows: Sequence[Group]) -> list[str]:
    several = [row for row in rows if len(row.runs) > 1]
    if not several:
        return []
    same = len({tuple(sorted(row.seeds)) for row in several}) == 1
    over = "seeds " + ", ".join(map(str, sorted(several[0].seeds))) if same else "the runs of a row"
    return [f"Mean ± sample standard deviation over {over}."]


def _scores(comparison: Comparison) -> list[str]:
    """How many texts were scored, and how the scores were made, where rows agree in it."""
    runs = comparison.runs
    sizes = {run.result["decoding"]["sentences"] for run in runs if "decoding" in run.result}
    made: dict[str, None] = {}
    for column in comparison.columns:
        if column.metric not in comparison.unlike:
            signatures = {signature(column.metric, run.result) for run in runs} - {None}
            name = how_written(column.metric.split("/")[-1])[0]
            made |= dict.fromkeys(f"{name}: {signature}" for signature in signatures)
    texts = f"Scores on {sizes.pop():,} test texts." if len(sizes) == 1 else ""
    told = f"{texts} {'; '.join(made)}{'.' if made else ''}".strip()
    return [told] if told else []


def _costs(comparison: Comparison) -> list[str]:
    """What seconds and memory are of."""
    shown = {column.metric for column in comparison.columns}
    found = []
    if SECONDS in shown:
        machines = {run.result["machine"] for run in comparison.runs}
        where = f"On {machines.pop()}. " if len(machines) == 1 else ""
        found.append(f"{where}Seconds include the training that a row starts from.")
    if shown & {"teacher_seconds", "seconds_with_teachers"}:
        work = [run.teacher_work or {} for run in comparison.runs]
        once = sum({path: s for made in work for path, s in made.items()}.values())
        found.append(
            f"Of teachers: what a row's teachers, their texts and stored signals took, in full for "
            f"each row that uses them; those of all rows, each once, took {once:,.0f} s. A live "
            f"teacher's work in a training is in that training's seconds."
        )
    if "peak_megabytes" in shown:
        found.append(
            "Peak MB: of a training on a CPU, the most resident memory of its process; on a GPU, "
            "the most that its tensors took."
        )
    return found


def _some(labels: Iterable[str]) -> str:
    """The first of them, and how many there are more."""
    names = list(dict.fromkeys(labels))
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return ", ".join(names[:4] if more else names) + more
