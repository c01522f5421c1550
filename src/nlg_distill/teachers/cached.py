"""The teacher's distributions, stored once and read back.

A target token takes 118 bytes at k = 32, and an example 12 more for its length and its hash: 118.9
bytes a token all in, measured on HSK with 13 tokens an example. What rounding costs is in
`teachers/codec.py`. The draws are those of Anshumann et al., "Sparse Logit Sampling: Accelerating
Knowledge Distillation in LLMs", 2025, https://arxiv.org/abs/2503.16870.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlg_distill.data.batch import Batch, Example
from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel
from nlg_distill.store import write_json
from nlg_distill.teachers.modes import MODES, ModeName
from nlg_distill.teachers.signal import Gives, TeacherSignal

IDENTITY, INDEX = "identity.json", "index.safetensors"


class CachedTeacher:
    """Reads what the stage `teacher_signal` stored for the examples of a batch; no model runs.

    The files are mapped into memory, so a cache may be larger than that.
    """

    needs_model = False

    def __init__(
        self,
        folder: Path,
        examples: Sequence[Example],
        expected: Mapping[str, Any],
        *,
        source: Any,
        k: int | None,
        mode: ModeName = "top_k",
        quantised: bool | None = True,
    ) -> None:
        """Opens a cache and compares it with the training.

        Args:
            folder: the artifact of the stage `teacher_signal`.
            examples: what is trained on.
            expected: what the cache must have been made from, by role: keys and settings.
            source: the teacher source that the cache stands for; it does not run here.
            k: tokens of each position; None for `spans`.
            mode: `top_k`, the most probable ones, `samples`, independent draws, or `spans`, how
                probable the text itself is.
            quantised: 3.5 k + 6 bytes a position instead of 8 k + 4; None for `spans`.

        Raises:
            UserError: if the cache was made from other models, text or settings.
        """
        self.gives({"k": k, "mode": mode, "quantised": quantised})
        self.folder, self.source = folder, source
        facts = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
        self._compare(facts["made_from"], expected)
        self.mode = MODES[mode](k, facts["vocab_size"], quantised=quantised)
        self.shard_examples: int = facts["shard_examples"]
        index = load_file(folder / INDEX)
        self.counts = index["counts"].long()
        self._compare_examples(index["hashes"], examples)
        self.begins = _begins(self.counts, self.shard_examples)

    @classmethod
    def gives(cls, settings: Mapping[str, Any]) -> frozenset[Gives]:
        """What the mode keeps."""
        k, quantised = settings["k"], settings["quantised"]
        if settings["mode"] not in MODES:
            raise UserError(
                f"teacher.mode must be one of {', '.join(MODES)}, got {settings['mode']!r}"
            )
        mode = MODES[settings["mode"]]
        if mode.keeps_tokens != (k is not None) or mode.keeps_tokens != (quantised is not None):
            raise UserError(
                f"teacher.mode={settings['mode']} does not go with teacher.k={k} and "
                f"teacher.quantised={quantised}, which are of stored tokens: choose teacher=cached "
                f"for tokens, teacher=cached_spans for spans"
            )
        if k is not None and k < 1:
            raise UserError(f"teacher.k must be at least 1, got {k}")
        return mode.gives

    @property
    def model(self) -> GenerationModel | None:
        """None runs beside the student."""
        return None

    def to(self, device: torch.device) -> None:
        """Nothing is moved: each batch has its signal made on its own device."""

    def refuse_too_long(self, examples: Sequence[Example]) -> None:
        """Whoever made the cache has read them."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherSignal:
        """What was stored for the batch's examples; padding repeats an example's last position.

        Raises:
            UserError: if a target is not as long as the one that the teacher read.
        """
        numbers = batch.example_ids.cpu()
        counts, lengths = self.counts[numbers], batch.target_mask.sum(dim=1).cpu()
        if not torch.equal(counts, lengths):
            row = int((counts != lengths).nonzero()[0])
            self._refuse_length(int(numbers[row]), int(counts[row]), int(lengths[row]))
        records = torch.cat([self.records(number) for number in numbers.tolist()])
        firsts = counts.cumsum(0) - counts
        steps = torch.arange(batch.labels.shape[1]).expand(len(counts), -1)
        where = firsts[:, None] + torch.minimum(steps, counts[:, None] - 1)  # [batch, time]
        device = batch.labels.device
        return self.mode.decode(records.to(device)[where.to(device)])

    def records(self, number: int) -> UInt8[Tensor, "tokens bytes"]:
        """The stored bytes of one example."""
        begin, count = int(self.begins[number]), int(self.counts[number])
        return self.shards[number // self.shard_examples][begin : begin + count]

    @cached_property
    def shards(self) -> list[UInt8[Tensor, "tokens bytes"]]:
        """The files, mapped into memory."""
        width = self.mode.bytes_per_token
        tokens = [int(part.sum()) for part in torch.split(self.counts, self.shard_examples)]
        return [
            map_shard(shard_path(self.folder, number), count, width, write=False)
            for number, count in enumerate(tokens)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the files itself."""
        return {name: value for name, value in self.__dict__.items() if name != "shards"}

    def _compare(self, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        for name in sorted({*found, *expected}):
            theirs, ours = found.get(name), expected.get(name)
            if theirs != ours:
                raise UserError(
                    f"the teacher's cache {self.folder} was made with {name}={theirs}, but this "
                    f"training has {name}={ours}: {self._remedy}"
                )

    def _compare_examples(self, hashes: Tensor, examples: Sequence[Example]) -> None:
        for example in examples:
            number = example.example_id
            if number >= len(hashes):
                raise UserError(
                    f"the teacher's cache {self.folder} holds {len(hashes)} examples, but this "
                    f"training has an example {number}: {self._remedy}"
                )
            if int(self.counts[number]) != len(example.target_ids) + 1:
                self._refuse_length(number, int(self.counts[number]), len(example.target_ids) + 1)
            if (theirs := int(hashes[number])) != (ours := example_hash(example)):
                raise UserError(
                    f"the teacher's cache {self.folder} was made from another text for example "
                    f"{number}: its source and target ids have the hash {theirs:x}, those of this "
                    f"training {ours:x}: {self._remedy}"
                )

    def _refuse_length(self, number: int, theirs: int, ours: int) -> None:
        raise UserError(
            f"the teacher's cache {self.folder} holds {theirs} target tokens for example {number}, "
            f"but this training has {ours}: {self._remedy}"
        )

    @property
    def _remedy(self) -> str:
        return f"delete it (nlg-distill store rm {self.folder.name}) or set teacher=live"


def write_index(
    folder: Path,
    examples: Sequence[Example],
    made_from: Mapping[str, Any],
    *,
    vocab_size: int,
    shard_examples: int,
) -> None:
    """Leaves beside the shards what they were made from; `examples` are numbered from 0."""
    counts = torch.tensor([len(e.target_ids) + 1 for e in examples], dtype=torch.int32)
    hashes = torch.tensor([example_hash(example) for example in examples])
    save_file({"counts": counts, "hashes": hashes}, folder / INDEX)
    facts = {"vocab_size": vocab_size, "shard_examples": shard_examples}
    write_json(folder / IDENTITY, {"made_from": dict(made_from), **facts})


def example_hash(example: Example) -> int:
    """A number below 2^63 that source and target ids determine."""
    ids = array("q", [len(example.source_ids), *example.source_ids, *example.target_ids])
    digest = hashlib.blake2b(ids.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def shard_path(folder: Path, number: int) -> Path:
    """The file of one shard: records, one after the other, and nothing else."""
    return folder / f"records-{number:05}.bin"


def map_shard(path: Path, tokens: int, width: int, *, write: bool) -> UInt8[Tensor, "tokens bytes"]:
    """A file as a tensor; it is made when it is written."""
    if write:
        path.touch()  # with the usual permissions; torch would let its owner alone read it
    flat = torch.from_file(str(path), shared=write, size=tokens * width, dtype=torch.uint8)
    return flat.view(tokens, width)


def _begins(counts: Int[Tensor, " examples"], shard_examples: int) -> Int[Tensor, " examples"]:
    """Where each example's records begin in its shard."""
    parts = [part.cumsum(0) - part for part in torch.split(counts, shard_examples)]
    return torch.cat(parts)
