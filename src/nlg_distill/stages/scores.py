"""Stage: what a model is worth on the test split."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.errors import UserError, require_positive
from nlg_distill.metrics import (
    likelihood,
    mode_probability,
    num_parameters,
    text_scores,
    write_texts,
)
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import autocast, load_model
from nlg_distill.stages.sources import LIVE, open_models
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer
from nlg_distill.store import write_json


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a model is scored.

    Args:
        beam_sizes: beams to decode with; 1 is among them, because p(y-hat) is of the greedy text.
        batch_tokens: bound of a batch, padding included.
        threads: threads of a CPU.
    """

    beam_sizes: Sequence[int]
    batch_tokens: int
    threads: int

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        sizes = self.beam_sizes
        whole = isinstance(sizes, Sequence) and all(isinstance(s, int) and s > 0 for s in sizes)
        if not whole or 1 not in sizes or len(set(sizes)) < len(sizes):
            raise UserError(f"beam_sizes must be different numbers, 1 among them, got {sizes}")
        require_positive(batch_tokens=self.batch_tokens, threads=self.threads)


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Scores a model and writes `result.json` and `samples.jsonl`."""
    scoring = config["scoring"]
    torch.set_num_threads(scoring["threads"])
    tokenizer = load_tokenizer(parents["tokenizer"])
    pairs = load_split(parents["corpus"], "test")
    sources, references = [p.source for p in pairs], [p.target for p in pairs]
    examples = encode_pairs(pairs, tokenizer)
    device = session.device
    batches = fixed_batches(examples, tokenizer.special, scoring["batch_tokens"], device)
    words = sum(len(source.split()) for source in sources)
    model = load_model(parents["model"]).to(device)

    result: dict[str, Any] = {}
    texts: dict[int, list[str]] = {}
    with torch.inference_mode(), autocast(config["precision"], device):
        for beam_size in scoring["beam_sizes"]:
            best, seconds = write_texts(model, batches, tokenizer.special, beam_size=beam_size)
            texts[beam_size] = tokenizer.decode([best[i].token_ids for i in range(len(pairs))])
            result[f"beam_{beam_size}"] = {
                **text_scores(texts[beam_size], references),
                "source_words_per_second": words / seconds,
            }
            if beam_size == 1:
                result["mode_probability"] = mode_probability(list(best.values()))
        result |= likelihood(model, batches, references)
        widest = scoring["beam_sizes"][-1]
        compared = texts[widest]
        if "teacher" in parents:
            source = open_models(config.get("teacher", LIVE), parents, tokenizer)
            source.to(device)
            assert source.model is not None, "a source that runs models can write"
            best, _ = write_texts(source.model, batches, tokenizer.special, beam_size=widest)
            compared = tokenizer.decode([best[i].token_ids for i in range(len(pairs))])
    training = json.loads((parents["model"] / "training.json").read_text())
    result |= {"parameters": num_parameters(model), **training}
    result["megabytes"] = (parents["model"] / WEIGHTS).stat().st_size / 1e6
    result["decoding"] = {
        "threads": scoring["threads"],
        "batch_tokens": scoring["batch_tokens"],
        "precision": config["precision"],
        "device": device.type,
        "sentences": len(pairs),
    }
    result["artifacts"] = {
        role: f"{path.parent.name}/{path.name}" for role, path in parents.items()
    }
    with (out / "samples.jsonl").open("w", encoding="utf-8") as file:
        for pair, teacher_text, text in zip(pairs, compared, texts[widest], strict=True):
            row = {"source": pair.source, "gold": pair.target, "teacher": teacher_text}
            file.write(json.dumps(row | {"student": text}, ensure_ascii=False) + "\n")
    write_json(out / "result.json", result)
