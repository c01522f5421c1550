"""What it took to make what a run is made from, in seconds, as far as its store still says so."""

import json
from collections.abc import Iterable
from pathlib import Path

from nlg_distill.runs.finished import FinishedRun
from nlg_distill.store import metadata

TEACHERS = ("teacher", "teacher_text", "teacher_signal")


def work(artifacts: Iterable[Path]) -> tuple[dict[Path, float], list[Path]]:
    """Seconds of artifacts and of all that they were made from, each once; what is not there.

    Of a training they are those of all attempts, of anything else that was stopped and gone on with
    those of the last.
    """
    seconds: dict[Path, float] = {}
    missing: list[Path] = []
    left = list(artifacts)
    while left:
        artifact = left.pop()
        if artifact in seconds or artifact in missing:
            continue
        if not (artifact / "metadata.json").is_file():
            missing.append(artifact)
            continue
        facts = metadata(artifact)
        seconds[artifact] = max(float(facts["seconds"]), _of_all_attempts(artifact))
        left += [artifact.parents[1] / name for name in facts["parents"].values()]
    return seconds, sorted(missing)


def _of_all_attempts(artifact: Path) -> float:
    """Seconds of a training; 0 of anything else."""
    training = artifact / "training.json"
    if not training.is_file():
        return 0.0
    return float(json.loads(training.read_text(encoding="utf-8"))["training_seconds"])


def work_of_run(run: FinishedRun) -> tuple[dict[Path, float], list[Path]]:
    """The same of a run: its model, its scores, and all that they were made from."""
    root = Path(run.result["artifacts_root"])
    return work(root / name for name in [run.result["scores"], *run.result["artifacts"].values()])


def teacher_work(model: Path) -> dict[str, float] | None:
    """Seconds of each artifact of teachers that a model was made from, by its folder.

    Teachers' trainings, the texts that they wrote and the signals that were stored of them, also
    those of the student that it starts from; each once, and in full, whoever else uses them. A live
    teacher's work at each step is in the seconds of the training itself.

    Returns:
        Nothing in it where there was no teacher; None where the store does not have what the model
        was made from any more.
    """
    seconds, missing = work([model])
    if missing:
        return None
    others = seconds.items() - {(model, seconds[model])}
    return {str(path): spent for path, spent in sorted(others) if path.parent.name in TEACHERS}


def made(run: FinishedRun) -> str | None:
    """When the scores were made, in UTC; None if they are no longer in the store."""
    scores = Path(run.result["artifacts_root"], run.result["scores"])
    if not (scores / "metadata.json").is_file():
        return None
    return str(metadata(scores)["made"])
