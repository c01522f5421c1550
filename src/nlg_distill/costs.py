"""What a run had from its teachers, in seconds."""

import json
from collections.abc import Iterator
from pathlib import Path

from nlg_distill.errors import UserError
from nlg_distill.finished import FinishedRun
from nlg_distill.store import metadata

STAGES = ("teacher", "teacher_text", "teacher_signal")


def teacher_work(run: FinishedRun) -> dict[str, float] | None:
    """Seconds of each artifact of teachers that a run's model was made from, by its folder.

    Teachers' trainings, the texts that they wrote and the signals that were stored of them, also
    those of the student that it starts from; each once, and in full, whoever else uses them. A live
    teacher's work at each step is in the seconds of the training itself. Of a text or a signal that
    was stopped and gone on with, the last attempt alone is known.

    Returns:
        Nothing in it where there was no teacher; None where the store does not have what the run
        was made from any more, or of a black box.
    """
    if "model" not in run.result["artifacts"]:
        return None
    try:
        made_from = dict.fromkeys(_ancestors(run.artifact("model")))
        return {str(path): _seconds(path) for path in made_from if path.parent.name in STAGES}
    except UserError:
        return None


def _ancestors(artifact: Path) -> Iterator[Path]:
    """What an artifact was made from, itself left out; what several share, several times.

    Raises:
        UserError: if one of them is not in the store.
    """
    for name in metadata(artifact)["parents"].values():
        yield artifact.parents[1] / name
        yield from _ancestors(artifact.parents[1] / name)


def _seconds(artifact: Path) -> float:
    """Seconds that it took; of a training, those of all attempts, where they are more."""
    seconds: float = metadata(artifact)["seconds"]
    training = artifact / "training.json"
    if training.is_file():
        of_all_attempts = json.loads(training.read_text(encoding="utf-8"))["training_seconds"]
        seconds = max(seconds, of_all_attempts)
    return float(seconds)
