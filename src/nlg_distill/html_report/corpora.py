"""What the runs of a report were trained and scored on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_distill.runs.finished import FinishedRun


def by_corpus(runs: Sequence[FinishedRun]) -> dict[str, dict[int, FinishedRun]]:
    """Runs by the artifact of their corpus, each with its number, in the order of the runs."""
    found: dict[str, dict[int, FinishedRun]] = {}
    for number, run in enumerate(runs):
        found.setdefault(run.result["artifacts"]["corpus"], {})[number] = run
    return found


def corpus_facts(run: FinishedRun) -> dict[str, Any]:
    """Name, licence, and the hygiene reports, None where they are no longer in the store."""
    data = run.config["data"]
    kind = str(data["corpus"]["_target_"]).split(".")[-1]
    further = "further_tests" in run.result["artifacts"]
    return {
        "name": _name(run.result["overrides"]) or kind,
        "artifact": run.result["artifacts"]["corpus"],
        "licence": data.get("licence"),
        "attribution": data.get("attribution"),
        "hygiene": _hygiene(run, "corpus"),
        "further": _hygiene(run, "further_tests") if further else {},
    }


def _name(overrides: Sequence[str]) -> str | None:
    chosen = [o.removeprefix("data=") for o in overrides if o.startswith("data=")]
    return chosen[-1] if chosen else None


def _hygiene(run: FinishedRun, role: str) -> Mapping[str, Any] | None:
    path = Path(run.artifact(role)) / "hygiene.json"
    if not path.is_file():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
