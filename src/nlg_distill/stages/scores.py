"""Stage: what a model is worth on the test split, and on further test sets."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from nlg_distill.continuation import CONTINUATION, beginning_of, go_on
from nlg_distill.data.batch import Batch
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.decoding import Hypothesis
from nlg_distill.errors import UserError, require_positive
from nlg_distill.metrics import (
    draw_texts,
    likelihood,
    mode_probability,
    num_parameters,
    write_texts,
)
from nlg_distill.models import GenerationModel
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.precision import autocast
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import load_model
from nlg_distill.stages.sources import LIVE, open_models
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer
from nlg_distill.store import write_json
from nlg_distill.targets.policy import Sampling
from nlg_distill.tasks import TRANSLATION, Task
from nlg_distill.teachers.source import TeacherSource

OTHER_TEXTS = "other_texts.jsonl"
"""What was written beside the last beam's texts in `samples.jsonl`: for tests of significance."""

DRAWN = "drawn"
"""Where `result.json` has the scores of drawn texts, by one seed, at temperature 1: with
`Scoring.draws` one for each source. Without sources, each test text is begun anew: after its first
words a model draws, as it says, at most 100 tokens."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a model is scored.

    Args:
        beam_sizes: beams to decode with; 1 is among them, because p(y-hat) is of the greedy text.
        draws: whether a text is drawn for each source too, at temperature 1, as papers on
            instructions have it. What search finds is the same for a flatter distribution; what is
            drawn is not.
        batch_tokens: bound of a batch, padding included.
        threads: threads of a CPU.
    """

    beam_sizes: Sequence[int]
    draws: bool
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
    """Scores a model and writes `result.json`, `samples.jsonl` and `other_texts.jsonl`."""
    scoring = config["scoring"]
    torch.set_num_threads(scoring["threads"])
    tokenizer = load_tokenizer(parents["tokenizer"])
    task: Task = instantiate(config.get("task", TRANSLATION), _convert_="all")
    pairs = load_split(parents["corpus"], "test")
    device = session.device
    model = load_model(parents["model"]).to(device)
    score = partial(_score, model, tokenizer=tokenizer, task=task, scoring=scoring, device=device)
    with torch.inference_mode(), autocast(config["precision"], device):
        result, texts = score(pairs)
        if task.writes:
            widest = texts.pop(f"beam_{scoring['beam_sizes'][-1]}")
            written = Written(widest, [p.target for p in pairs], [p.source for p in pairs])
        else:
            written = _draw(model, pairs, tokenizer)
            result[DRAWN] = task.score(written.texts, written.references, written.sources)
        columns = {"source": written.sources, "gold": written.references}
        if task.writes:
            columns["teacher"] = written.texts
        if task.writes and "teacher" in parents:
            own = load_tokenizer(parents["teacher"])
            source = open_models(config.get("teacher", LIVE), parents, own)
            source.to(device)
            columns["teacher"] = _widest(source, pairs, own, scoring, device)
        columns["student"] = written.texts
        further = {}
        for name in config.get("further_tests", ()):
            others = load_split(parents["further_tests"], name)
            further[name] = score(others)[0] | {"sentences": len(others)}
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
    if further:
        result["further_tests"] = further
    _write_columns(out / "samples.jsonl", columns)
    if texts:
        _write_columns(out / OTHER_TEXTS, texts)
    write_json(out / "result.json", result)


@dataclass(frozen=True)
class Written:
    """What a model wrote for the test set: its texts, with the references and the sources.

    Where there are no sources, the first words of the test texts, and the rest as references.
    """

    texts: Sequence[str]
    references: Sequence[str]
    sources: Sequence[str]


def read_texts(scores: Path, way: str) -> Written | None:
    """What a model wrote in a way such as `beam_5` or `DRAWN`, out of the artifact of its scores.

    None if it is not kept, as of a model without sources.
    """
    result = json.loads((scores / "result.json").read_text(encoding="utf-8"))
    samples = _read_lines(scores / "samples.jsonl")
    beams = [key for key in result if key.startswith("beam_")]
    others = _read_lines(scores / OTHER_TEXTS) if (scores / OTHER_TEXTS).is_file() else [{}]
    if not beams or "student" not in samples[0]:
        return None
    if way == beams[-1]:
        texts = [sample["student"] for sample in samples]
    elif way in others[0]:
        texts = [line[way] for line in others]
    else:
        return None
    return Written(texts, [s["gold"] for s in samples], [s["source"] for s in samples])


def result_paths(task: Task, scoring: Scoring, further_tests: Iterable[str]) -> list[str]:
    """Where `result.json` holds numbers and signatures, such as `beam_5/bleu`."""
    scores = ["perplexity", "bits_per_byte"]
    if task.writes:
        names = [*task.metrics, "source_words_per_second"]
        scores += [f"beam_{size}/{name}" for size in scoring.beam_sizes for name in names]
        scores.append("mode_probability")
        scores += [f"{DRAWN}/{name}" for name in task.metrics if scoring.draws]
    further = [f"further_tests/{name}/{path}" for name in further_tests for path in scores]
    if not task.writes:
        scores += [f"{DRAWN}/{name}" for name in task.metrics]
    facts = [f"best_validation_{task.monitor.removeprefix('val/')}", "steps", "training_seconds"]
    facts += ["total_training_seconds", "peak_megabytes", "training_pairs", "parameters"]
    return [*scores, *further, *facts, "megabytes"]


def _score(
    model: GenerationModel,
    pairs: Sequence[Pair],
    *,
    tokenizer: Tokenizer,
    task: Task,
    scoring: Mapping[str, Any],
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What a model is worth on these pairs, and its texts in each way, if it writes any."""
    sources, references = [p.source for p in pairs], [p.target for p in pairs]
    words = sum(len(source.split()) for source in sources)
    batches = _batches(pairs, tokenizer, scoring, device)
    result: dict[str, Any] = {}
    written: dict[str, list[str]] = {}

    def decoded(found: Mapping[int, Hypothesis]) -> list[str]:
        return tokenizer.decode([found[i].token_ids for i in range(len(pairs))])

    for beam_size in scoring["beam_sizes"] if task.writes else ():
        best, seconds = write_texts(model, batches, tokenizer.special, beam_size=beam_size)
        way = f"beam_{beam_size}"
        written[way] = decoded(best)
        result[way] = task.score(written[way], references, sources)
        result[way]["source_words_per_second"] = words / seconds
        if beam_size == 1:
            result["mode_probability"] = mode_probability(list(best.values()))
    if task.writes and scoring["draws"]:
        written[DRAWN] = decoded(draw_texts(model, batches, tokenizer.special))
        result[DRAWN] = task.score(written[DRAWN], references, sources)
    return result | likelihood(model, batches, references), written


def _widest(
    source: TeacherSource,
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
    scoring: Mapping[str, Any],
    device: torch.device,
) -> list[str]:
    """What a teacher writes with the largest of the beams."""
    assert source.model is not None, "a source that runs models can write"
    batches = _batches(pairs, tokenizer, scoring, device)
    widest = scoring["beam_sizes"][-1]
    best, _ = write_texts(source.model, batches, tokenizer.special, beam_size=widest)
    return tokenizer.decode([best[i].token_ids for i in range(len(pairs))])


def _batches(
    pairs: Sequence[Pair], tokenizer: Tokenizer, scoring: Mapping[str, Any], device: torch.device
) -> list[Batch]:
    examples = encode_pairs(pairs, tokenizer)
    return fixed_batches(examples, tokenizer.special, scoring["batch_tokens"], device)


def _draw(model: GenerationModel, pairs: Sequence[Pair], tokenizer: Tokenizer) -> Written:
    """Texts without sources, as `DRAWN` says: what follows their first words."""
    torch.manual_seed(1)
    begun = [beginning_of(pair.target) for pair in pairs]
    whole = go_on(model, tokenizer, [""] * len(pairs), begun, Sampling(), CONTINUATION)
    given = tokenizer.decode(tokenizer.encode_targets(begun))
    texts = [text[len(first) :].strip() for text, first in zip(whole, given, strict=True)]
    gold = [p.target[len(first) :].strip() for p, first in zip(pairs, begun, strict=True)]
    return Written(texts, gold, begun)


def _write_columns(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for cells in zip(*columns.values(), strict=True):
            row = dict(zip(columns, cells, strict=True))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
