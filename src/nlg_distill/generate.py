"""Text in, text out, with a trained model: a source and its target, or a beginning and the rest."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from nlg_distill.continuation import CONTINUATION, go_on
from nlg_distill.decoding import USUAL_LIMIT, LengthLimit
from nlg_distill.errors import UserError
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.stages.models import load_model
from nlg_distill.stages.tokenizer import load_tokenizer
from nlg_distill.targets.policy import Beam, Sampling


def generate_texts(
    model: Path, texts: Sequence[str], writing: Beam | Sampling, *, max_tokens: int | None = None
) -> list[str]:
    """The first text that is written for each, in their order.

    A model that was trained with sources writes the target of each. One that was trained without
    them, a language model, goes on from each as the beginning of its text, which may be empty; what
    it gives back has the beginning in it.

    Args:
        model: a teacher or student artifact, or the folder of a run, whose model is taken.
        texts: sources, or beginnings.
        writing: how texts are searched for or drawn.
        max_tokens: the most tokens that are written, the end included. If not given, twice the
            source's tokens and 10, or 100 after a beginning.

    Raises:
        UserError: if `model` is neither, or a source is empty.
    """
    artifact = _find(model)
    if not texts:
        raise UserError("there is nothing to write for: give texts, or lines on standard input")
    reads = _reads_sources(artifact)
    if reads and (empty := [i for i, text in enumerate(texts, start=1) if not text.strip()]):
        raise UserError(f"source {empty[0]} is empty: give one text per line")
    limit = USUAL_LIMIT if reads else CONTINUATION
    if max_tokens is not None:
        limit = LengthLimit(ratio=0.0, extra=max_tokens)
    tokenizer, network = load_tokenizer(artifact), load_model(artifact)
    sources, begun = (texts, None) if reads else ([""] * len(texts), texts)
    with torch.inference_mode():
        return go_on(network, tokenizer, sources, begun, writing, limit)


def chosen_writing(
    *,
    beam: int | None = None,
    sample: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Beam | Sampling:
    """Beam search of size 5, or drawing with seed 1 and as the model says, unless told otherwise.

    Raises:
        UserError: if a setting has no effect, or is out of its range.
    """
    drawing = {"temperature": temperature, "top-k": top_k, "top-p": top_p, "seed": seed}
    if not sample:
        for name, value in drawing.items():
            if value is not None:
                raise UserError(f"--{name}={value} changes nothing without --sample: add that")
        return Beam(beam_size=5 if beam is None else beam, num_hypotheses=1)
    if beam is not None:
        raise UserError(f"--beam={beam} changes nothing with --sample: leave one of them out")
    torch.manual_seed(1 if seed is None else seed)
    heat = 1.0 if temperature is None else temperature
    return Sampling(sampling_temperature=heat, top_k=top_k, top_p=top_p)


def _reads_sources(artifact: Path) -> bool:
    """Whether the model was trained on a task with sources."""
    config = yaml.safe_load((artifact / "config.yaml").read_text(encoding="utf-8"))
    return bool(config.get("task", {}).get("writes", True))


def _find(path: Path) -> Path:
    if (path / WEIGHTS).is_file():
        return path
    facts = _of_a_run(path / "result.json")
    if facts is None:
        what = (
            f"holds neither {WEIGHTS} nor a run's result.json" if path.is_dir() else "is no folder"
        )
        runs = [file for file in path.glob("**/result.json") if _of_a_run(file)]
        newest = max(runs, key=lambda file: file.stat().st_mtime, default=None)
        raise UserError(
            f"{path} {what}: give a folder like artifacts/student/<key>, or the folder of a "
            f"finished run" + (f", such as {newest.parent}" if newest else "")
        )
    if "model" not in facts["artifacts"]:
        raise UserError(f"{path} is of a black box: there is no model here that could write")
    artifact = Path(facts["artifacts_root"], facts["artifacts"]["model"])
    if not artifact.is_dir():
        raise UserError(f"the model of {path} is no longer in the store: {artifact} is missing")
    return artifact


def _of_a_run(result: Path) -> dict[str, Any] | None:
    """What a finished run wrote; None if it is none, such as an artifact of scores."""
    facts: dict[str, Any] = json.loads(result.read_text("utf-8")) if result.is_file() else {}
    return facts if "artifacts_root" in facts else None
