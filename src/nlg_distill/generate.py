"""Text in, text out, with a trained model."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from nlg_distill.data.batch import Example
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.decoding import beam_search
from nlg_distill.errors import UserError
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.stages.models import load_model
from nlg_distill.stages.tokenizer import load_tokenizer


def generate_texts(model: Path, sources: Sequence[str], beam_size: int) -> list[str]:
    """The best text for each source, in their order.

    Args:
        model: a teacher or student artifact, or the folder of a run, whose model is taken.
        sources: source texts.
        beam_size: hypotheses kept at each step.

    Raises:
        UserError: if `model` is neither, or a source is empty.
    """
    artifact = _find(model)
    if not sources:
        raise UserError("there is nothing to write for: give texts, or lines on standard input")
    if empty := [i for i, source in enumerate(sources, start=1) if not source.strip()]:
        raise UserError(f"source {empty[0]} is empty: give one text per line")
    tokenizer = load_tokenizer(artifact)
    network = load_model(artifact)
    ids = tokenizer.encode_sources(sources)
    examples = [Example(i, source, []) for i, source in enumerate(ids)]
    longest = max(len(source) for source in ids) + 1
    texts: dict[int, str] = {}
    with torch.inference_mode():
        for batch in fixed_batches(examples, tokenizer.special, max(2000, longest)):
            found = beam_search(
                network,
                batch.source_ids,
                batch.source_mask,
                tokenizer.special,
                beam_size=beam_size,
            )
            written = tokenizer.decode([hypotheses[0].token_ids for hypotheses in found])
            texts |= dict(zip(batch.example_ids.tolist(), written, strict=True))
    return [texts[i] for i in range(len(sources))]


def _find(path: Path) -> Path:
    if (path / WEIGHTS).is_file():
        return path
    result = path / "result.json"
    if not result.is_file():
        raise UserError(
            f"{path} holds neither {WEIGHTS} nor result.json: give a folder like "
            f"artifacts/student/<key>, or the folder of a finished run"
        )
    facts = json.loads(result.read_text(encoding="utf-8"))
    artifact = Path(facts["artifacts_root"], facts["artifacts"]["model"])
    if not artifact.is_dir():
        raise UserError(f"the model of {path} is no longer in the store: {artifact} is missing")
    return artifact
