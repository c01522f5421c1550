"""Stage: what the teacher writes for every training source."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from nlg_distill.data.batch import Example
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.decoding import Hypothesis
from nlg_distill.precision import autocast
from nlg_distill.progress import progress
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.sources import LIVE, open_models
from nlg_distill.stages.tokenizer import load_tokenizer
from nlg_distill.targets.policy import TargetsPolicy, TeacherText

FILENAME = "hypotheses.jsonl"
DECODING_BATCH_TOKENS = 2000


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Decodes the training split, longest sources first; goes on where it was stopped."""
    torch.set_num_threads(config["threads"])
    tokenizer = load_tokenizer(parents["tokenizer"])
    source = open_models(config.get("teacher", LIVE), parents, tokenizer)
    source.to(session.device)
    writing = instantiate(config["writing"])
    sources = [pair.source for pair in load_split(parents["corpus"], "train")]
    examples = [Example(i, ids, []) for i, ids in enumerate(tokenizer.encode_sources(sources))]

    (out / "work").mkdir(exist_ok=True)
    written = out / "work" / FILENAME
    done = {number for number, _ in complete_rows(written)}
    missing = [example for example in examples if example.example_id not in done]
    batches = fixed_batches(missing, tokenizer.special, DECODING_BATCH_TOKENS, session.device)
    with (
        written.open("a", encoding="utf-8") as file,
        torch.inference_mode(),
        autocast(config["precision"], session.device),
        progress("teacher writes", len(examples)) as bar,
    ):
        bar.advance(len(done))
        for batch in batches:
            numbers = batch.example_ids.tolist()
            if "seed" in config:  # of the batch's own: a run that goes on draws what it would have
                torch.manual_seed(config["seed"] * 1_000_003 + numbers[0])
            found = writing.write(source.model, batch, tokenizer.special)
            rows = [[number, _row(h, tokenizer)] for number, h in zip(numbers, found, strict=True)]
            file.write(json.dumps(rows, ensure_ascii=False) + "\n")  # a batch is whole or not there
            file.flush()
            bar.advance(len(found))
    ordered = dict(sorted(complete_rows(written)))
    assert list(ordered) == list(range(len(examples)))
    save_teacher_text(out, ordered.values())


def _row(hypotheses: Sequence[Hypothesis], tokenizer: Tokenizer) -> list[tuple[str, float]]:
    texts = tokenizer.decode([hypothesis.token_ids for hypothesis in hypotheses])
    return [(text, h.log_prob) for text, h in zip(texts, hypotheses, strict=True)]


def save_teacher_text(out: Path, rows: Iterable[Sequence[Sequence[Any]]]) -> None:
    """Writes, for each training pair, text and log-probability of each text, best first."""
    with (out / FILENAME).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def load_teacher_text(artifact: Path) -> list[list[TeacherText]]:
    """For each training pair, the teacher's texts, best first."""
    with (artifact / FILENAME).open(encoding="utf-8") as file:
        return [[TeacherText(*row) for row in json.loads(line)] for line in file]


def training_pairs(parents: Mapping[str, Path], targets: TargetsPolicy) -> list[Pair]:
    """The training split, with the policy's choice of target texts where the teacher wrote any."""
    pairs = load_split(parents["corpus"], "train")
    if "teacher_text" not in parents:
        return pairs
    written = load_teacher_text(parents["teacher_text"])
    return [Pair(p.source, targets.pick(p, h)) for p, h in zip(pairs, written, strict=True)]


def complete_rows(path: Path) -> Iterator[tuple[int, list[list[Any]]]]:
    """Numbers and rows of a file whose writer may have been killed in the middle of a line."""
    if not path.is_file():
        return
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
    for line in whole.decode("utf-8").split("\n")[:-1]:
        yield from json.loads(line)
