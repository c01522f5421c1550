"""What an offline run of W&B has on disk, which is all that `wandb sync` has to send."""

import json
import struct
import time
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32_768  # bytes, of LevelDB's log format
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records_of(file):
    """Every record, its checksum compared; a record may be cut into pieces where a block ends."""
    data = file.read_bytes()
    assert data.startswith(b":W&B")
    at, pieces = HEADER, []
    while at + HEADER < len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        piece = data[at + HEADER : at + HEADER + length]
        if len(piece) < length:  # it is still being written
            return
        assert zlib.crc32(piece, zlib.crc32(bytes([kind]))) == checksum
        at += HEADER + length
        pieces.append(piece)
        if kind in (FULL, LAST):
            yield wandb_internal_pb2.Record.FromString(b"".join(pieces))
            pieces = []
        else:
            assert kind in (FIRST, MIDDLE)


@dataclass(frozen=True)
class OfflineRun:
    """One offline run, read from its folder."""

    folder: Path

    @cached_property
    def records(self):
        (file,) = self.folder.glob("*.wandb")
        for _ in range(300):  # W&B's other process closes the file after the run is finished
            records = list(records_of(file))
            if any(record.WhichOneof("record_type") == "exit" for record in records):
                return records
            time.sleep(0.1)
        raise AssertionError(f"{file} has no end")

    def of(self, kind):
        return [getattr(r, kind) for r in self.records if r.WhichOneof("record_type") == kind]

    @property
    def run(self):
        return self.of("run")[-1]

    @property
    def stage(self):
        return self.run.job_type

    @property
    def config(self):
        return _items([*self.run.config.update, *(u for c in self.of("config") for u in c.update)])

    @property
    def history(self):
        """Rows as they were logged, without what W&B adds."""
        rows = [_items(history.item) for history in self.of("history")]
        return [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]

    @property
    def curves(self):
        return [row for row in self.history if "step" in row]

    @property
    def summary(self):
        return _items([u for summary in self.of("summary") for u in summary.update])

    @property
    def axes(self):
        """By the prefix of a metric, what its curve is drawn over."""
        found = {m.glob_name or m.name: m.step_metric for m in self.of("metric")}
        return {name: axis for name, axis in found.items() if axis}

    @property
    def used(self):
        return {a.name: a for a in self.of("artifact") if a.use_after_commit and a.user_created}

    @property
    def made(self):
        """What this run is the maker of, but for the tables that W&B keeps as artifacts."""
        mine = [a for a in self.of("artifact") if not a.user_created]
        return {a.name: a for a in mine if a.type != "run_table"}

    def table(self, name):
        """The columns and rows of a logged table."""
        (path,) = [row[f"{name}.path"] for row in self.history if f"{name}.path" in row]
        return json.loads((self.folder / "files" / path).read_text("utf-8"))


def _items(items):
    """Values by their keys; the parts of a nested key are joined by dots."""
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def offline_runs(folder):
    """Every run below a folder, oldest first."""
    found = sorted(folder.rglob("offline-run-*"), key=lambda path: path.stat().st_ctime)
    return [OfflineRun(path) for path in found if path.is_dir()]
