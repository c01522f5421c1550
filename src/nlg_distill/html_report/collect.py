"""All that the page shows, as plain data: the only place that knows what is in its data block."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_distill.html_report import learning
from nlg_distill.html_report.corpora import by_corpus, corpus_facts
from nlg_distill.html_report.scores import (
    columns,
    main_metric,
    signatures,
    statistics,
    widest_beam,
)
from nlg_distill.html_report.texts import written
from nlg_distill.runs.costs import made, work_of_run
from nlg_distill.runs.finished import FinishedRun
from nlg_distill.runs.grouping import ComparedRun, grouped
from nlg_distill.runs.metric_facts import numbers
from nlg_distill.runs.settings import leaves

TEXT_BYTES = 8_000_000
NO_PART_IN_RESULTS = ("paths", "logger")


def report_data(found: Sequence[FinishedRun], folder: Path, num_texts: int) -> dict[str, Any]:
    """What is known of the runs.

    Args:
        found: all finished runs below `folder`.
        folder: where they were found; runs are named relative to it.
        num_texts: how many texts of each test set are shown at most.
    """
    runs = without_copies(found)
    curves = learning.all_curves(runs)
    points = learning.most_points(curves)
    corpora = by_corpus(runs)
    settings = [_settings(run) for run in runs]
    shared = {
        name: value
        for name, value in settings[0].items()
        if all(name in other and other[name] == value for other in settings)
    }
    return {
        "runs": [
            _run(run, folder)
            | learning.thinned(curves[number], points)
            | {"settings": _others(settings[number], shared)}
            for number, run in enumerate(runs)
        ],
        "settings": shared,
        "corpora": [
            _corpus(members, num_texts, TEXT_BYTES // len(corpora)) for members in corpora.values()
        ],
        "copies": len(found) - len(runs),
        "points": points,
        "thinned": sum(len(steps) > points for each in curves for steps, _ in each.values()),
    }


def without_copies(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs without those that only found again what another one had made.

    Several folders may hold the scores of one model: as several runs of a group, they would make
    its standard deviation too small.
    """
    first: dict[tuple[str, str], FinishedRun] = {}
    for run in runs:
        first.setdefault((run.result["stage"], run.result["scores"]), run)
    return list(first.values())


def _run(run: FinishedRun, folder: Path) -> dict[str, Any]:
    result = run.result
    return {
        "folder": str(run.folder.relative_to(folder)),
        "name": result["name"],
        "stage": result["stage"],
        "seed": result["seed"],
        "scores": numbers(result),
        "signatures": signatures(result),
        "overrides": [o for o in result["overrides"] if not o.startswith("paths.")],
        "artifacts": {**result["artifacts"], "scores": result["scores"]},
        "commit": result["git_commit"],
        "machine": result["machine"],
        "packages": {**result["packages"], "python": result["python"]},
        "decoding": result.get("decoding"),
        "made": made(run),
        "terms": learning.terms(run),
        "cost": _cost(run),
    }


def _cost(run: FinishedRun) -> dict[str, Any]:
    """Seconds by `stage/key`, in `parts`; in `missing`, what is no longer in the store."""
    seconds, missing = work_of_run(run)
    parts = {f"{path.parent.name}/{path.name}": spent for path, spent in seconds.items()}
    return {"parts": parts, "missing": [f"{path.parent.name}/{path.name}" for path in missing]}


def _settings(run: FinishedRun) -> dict[str, Any]:
    """What the page compares two runs by: the config, and what it ran with."""
    config = {name: part for name, part in run.config.items() if name not in NO_PART_IN_RESULTS}
    return {
        **leaves(config),
        "made with: commit": run.result["git_commit"],
        "made with: machine": run.result["machine"],
        "made with: python": run.result["python"],
        **{f"made with: {name}": v for name, v in run.result["packages"].items()},
    }


def _others(settings: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in shared}


def _corpus(runs: Mapping[int, FinishedRun], num_texts: int, budget: int) -> dict[str, Any]:
    """What is shown of the runs of one corpus, which share their test set."""
    members = list(runs.values())
    groups = grouped([ComparedRun(run) for run in members])
    groups.sort(key=lambda group: not group.is_teacher)
    numbered = {run.folder: number for number, run in runs.items()}
    scores = [numbers(run.result) for run in members]
    beam = widest_beam(run.result for run in members)
    main = main_metric(members[0].config.get("task") or {}, beam)
    paths = [path for found in scores for path in found]
    return {
        **corpus_facts(members[0]),
        "main": main[0],
        "beam": beam,
        "monitor": (members[0].config.get("task") or {}).get("monitor", "val/bleu"),
        "columns": columns(paths, main, beam),
        "groups": [
            {
                "label": group.label,
                "stage": group.runs[0].result["stage"],
                "runs": [numbered[run.run.folder] for run in group.runs],
                "stats": _stats([numbers(run.result) for run in group.runs]),
            }
            for group in groups
        ],
        "texts": written(runs, num_texts, budget) if num_texts else None,
    }


def _stats(scores: Sequence[Mapping[str, float | int | None]]) -> dict[str, Any]:
    paths = dict.fromkeys(path for found in scores for path in found)
    return {path: statistics([found[path] for found in scores if path in found]) for path in paths}
