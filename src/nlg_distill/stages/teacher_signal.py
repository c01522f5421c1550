"""Stage: what the teacher says about every position of the training text.

The text is cut into shards of examples. A shard is made under a lock of its own and takes its name
when it is complete, so that several processes share the work and a killed stage goes on with the
shards that are missing.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from hydra.utils import instantiate
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from nlg_distill.data.batch import Example, SpecialIds
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.precision import autocast
from nlg_distill.progress import Bar, progress
from nlg_distill.session import Session
from nlg_distill.stages.sources import open_for_text
from nlg_distill.stages.teacher_text import training_pairs
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer
from nlg_distill.store import console
from nlg_distill.teachers.cached import map_shard, shard_path, write_index
from nlg_distill.teachers.modes import MODES, Mode
from nlg_distill.teachers.source import TeacherSource

SHARD_EXAMPLES = 4096
BATCH_TOKENS = 2000


def build(
    config: Mapping[str, Any], parents: Mapping[str, Path], out: Path, session: Session
) -> None:
    """Stores the signal, with one process for each of the trainer's devices."""
    devices = session.trainer["devices"]
    work = (dict(config), dict(parents), out, session.device.type, SHARD_EXAMPLES)
    if devices > 1:
        spawn(share_work, work, nprocs=devices)  # type: ignore[no-untyped-call]
    else:
        share_work(0, *work)
    pairs, tokenizer = _training_text(config, parents)
    examples = encode_pairs(pairs, tokenizer)
    if not all(shard_path(out, i).is_file() for i in range(-(-len(examples) // SHARD_EXAMPLES))):
        share_work(0, *work, wait=True)  # a process that outlived its parent had a shard
    made_from = {**{role: path.name for role, path in parents.items()}, **config}
    write_index(
        out,
        examples,
        made_from,
        vocab_size=tokenizer.vocab_size,
        shard_examples=SHARD_EXAMPLES,
    )


def share_work(
    rank: int,
    config: Mapping[str, Any],
    parents: Mapping[str, Path],
    out: Path,
    device_type: str,
    shard_examples: int,
    wait: bool = False,
) -> None:
    """Makes the shards that are missing; the first process says how far it is.

    With `wait`, what another process makes is waited for.
    """
    torch.set_num_threads(config["threads"])
    device = torch.device(device_type) if device_type == "cpu" else torch.device(device_type, rank)
    pairs, tokenizer = _training_text(config, parents)
    mode = MODES[config["mode"]](config["k"], tokenizer.vocab_size, quantised=config["quantised"])
    say = console.print if rank == 0 else None
    source = open_for_text(config["source"], parents, pairs, tokenizer, say=say)
    source.to(device)
    examples = encode_pairs(pairs, tokenizer)
    source.refuse_too_long(examples)
    with torch.inference_mode(), autocast(config["precision"], device):
        write_shards(source, mode, examples, tokenizer.special, out, device, shard_examples, wait)


def write_shards(
    source: TeacherSource,
    mode: Mode,
    examples: Sequence[Example],
    special: SpecialIds,
    out: Path,
    device: torch.device,
    shard_examples: int,
    wait: bool = False,
) -> None:
    """The shards in order, but for those that are there or that others make."""
    (out / "work").mkdir(exist_ok=True)
    with progress("teacher signal", len(examples)) as bar:
        for begin in range(0, len(examples), shard_examples):
            number, members = begin // shard_examples, examples[begin : begin + shard_examples]
            with _shard(out, number, members, mode, wait) as records:
                if records is None:
                    bar.advance(len(members))
                else:
                    _fill(records, number, members, source, special, mode, device, bar)


@contextmanager
def _shard(
    out: Path, number: int, members: Sequence[Example], mode: Mode, wait: bool
) -> Iterator[Tensor | None]:
    """The file of a shard to fill; None if it is complete or another process fills it."""
    done, unfinished = shard_path(out, number), shard_path(out / "work", number)
    lock = FileLock(unfinished.with_suffix(".lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield None
        return
    try:
        if done.is_file():
            yield None
            return
        tokens = sum(len(example.target_ids) + 1 for example in members)
        yield map_shard(unfinished, tokens, mode.bytes_per_token, write=True)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.rename(done)
    finally:
        lock.release()


def _fill(
    records: Tensor,
    number: int,
    members: Sequence[Example],
    source: TeacherSource,
    special: SpecialIds,
    mode: Mode,
    device: torch.device,
    bar: Bar,
) -> None:
    """Fills a shard; what is drawn depends on its number alone, not on who makes it."""
    generator = torch.Generator(device).manual_seed(number)
    counts = torch.tensor([len(example.target_ids) + 1 for example in members])
    begins = (counts.cumsum(0) - counts).tolist()
    first = members[0].example_id
    for batch in fixed_batches(members, special, BATCH_TOKENS, device):
        values = mode.read(source(batch), batch)
        lengths = batch.target_mask.sum(dim=1).tolist()
        made = torch.split(mode.encode(values, generator).cpu(), lengths)
        for example_id, part in zip(batch.example_ids.tolist(), made, strict=True):
            begin = begins[example_id - first]
            records[begin : begin + len(part)] = part
        bar.advance(len(lengths))


def _training_text(
    config: Mapping[str, Any], parents: Mapping[str, Path]
) -> tuple[list[Pair], Tokenizer]:
    targets = instantiate(config["targets"], _convert_="all")
    return training_pairs(parents, targets), load_tokenizer(parents["tokenizer"])
