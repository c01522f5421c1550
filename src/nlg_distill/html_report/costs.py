"""What it took to make what a run is made from, as far as its store still says so."""

import json
from pathlib import Path
from typing import Any

from nlg_distill.finished import FinishedRun
from nlg_distill.store import metadata


def cost(run: FinishedRun) -> dict[str, Any]:
    """Seconds by stage and artifact, of the model and of all that it was made from.

    Returns:
        `parts`: seconds by `stage/key`; `missing`: what is no longer in the store.
    """
    root = Path(run.result["artifacts_root"])
    parts: dict[str, float] = {}
    missing: list[str] = []
    left = [run.result["scores"], *run.result["artifacts"].values()]
    while left:
        name = left.pop()
        if name in parts or name in missing:
            continue
        if not (root / name / "metadata.json").is_file():
            missing.append(name)
            continue
        facts = metadata(root / name)
        parts[name] = _seconds(root / name, facts)
        left += facts["parents"].values()
    return {"parts": parts, "missing": sorted(missing)}


def _seconds(artifact: Path, facts: dict[str, Any]) -> float:
    """Of a training, over all its attempts; else of the attempt that made it."""
    training = artifact / "training.json"
    if training.is_file():
        return float(json.loads(training.read_text(encoding="utf-8"))["training_seconds"])
    return float(facts["seconds"])


def made(run: FinishedRun) -> str | None:
    """When the scores were made, in UTC; None if they are no longer in the store."""
    scores = Path(run.result["artifacts_root"], run.result["scores"])
    if not (scores / "metadata.json").is_file():
        return None
    return str(metadata(scores)["made"])
