"""The content-addressed artifact store: what was made is found again by what it was made from."""

import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from rich.console import Console

from nlg_distill.code import code_of
from nlg_distill.environment import environment
from nlg_distill.errors import UserError

console = Console(stderr=True, markup=False)


@dataclass(frozen=True)
class Stage:
    """One step of an experiment.

    Args:
        name: the folder under the store's root.
        version: raised when the builder's result changes for the same config.
        config: the part of the resolved config that changes the result, as plain data.
        builder: dotted name of `build(config, parents, out, session)`, imported only when needed.
        parents: the stages whose artifacts it reads, by role.
    """

    name: str
    version: int
    config: Mapping[str, Any]
    builder: str
    parents: Mapping[str, "Stage"] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Hash of everything that the result depends on."""
        identity = {
            "name": self.name,
            "version": self.version,
            "config": self.config,
            "parents": {role: parent.key for role, parent in self.parents.items()},
        }
        text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def origin(self) -> dict[str, Any]:
        """What it is made from: its own config, and its parents' keys by role."""
        keys = {role: parent.key for role, parent in self.parents.items()}
        return {**keys, **self.config}

    def ancestry(self) -> Iterator["Stage"]:
        """The stages this one needs, parents first, itself last."""
        for parent in self.parents.values():
            yield from parent.ancestry()
        yield self


class Store:
    """Artifacts under one root: `<root>/<stage>/<key>/`."""

    def __init__(self, root: Path, made: Callable[[Stage], None] = lambda stage: None) -> None:
        """`root` is made when something is stored; `made` is told of each stage that is."""
        self.root, self.made = root, made

    def path(self, stage: Stage) -> Path:
        """Where the stage's artifact is, or will be."""
        return self.root / stage.name / stage.key

    def has(self, stage: Stage) -> bool:
        """Whether the artifact was made; its checksums are not read."""
        return (self.path(stage) / "metadata.json").is_file()

    def get(self, stage: Stage, session: Any) -> Path:
        """The stage's artifact, made now if it is missing, its parents first.

        Under a lock: of several processes that need it, one makes it and the others wait. The
        builder works in `<key>.partial/`, which outlives a killed process, so it can go on where it
        stopped; the folder takes its real name when it is complete.
        """
        path = self.path(stage)
        if self._is_intact(stage):
            return path
        parents = {role: self.get(parent, session) for role, parent in stage.parents.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(path):
            if self._is_intact(stage):  # another process made it while this one waited
                return path
            partial = path.with_name(path.name + ".partial")
            partial.mkdir(exist_ok=True)
            _write_yaml(partial / "config.yaml", dict(stage.config))
            begin = time.monotonic()
            _import(stage.builder)(stage.config, parents, partial, session)
            self._publish(stage, partial, time.monotonic() - begin)
        self.made(stage)
        return path

    def warn_of_changed_code(self, stages: Iterable[Stage]) -> None:
        """Says which artifacts were made with other code than there is now, and how to renew them.

        Code is no part of a key: a comment would cost a training. Only files that a config names
        are looked at.
        """
        changed: set[str] = set()
        old: dict[str, Stage] = {}  # what was made with such code, or from what was
        for stage in (stage for last in stages for stage in last.ancestry()):
            if not self.has(stage):
                continue
            before, now = metadata(self.path(stage)).get("code", {}), code_of(stage.config)
            names = {name for name in now if before.get(name, now[name]) != now[name]}
            changed |= names
            if names or any(parent.key in old for parent in stage.parents.values()):
                old[stage.key] = stage
        if changed:
            names_told = ", ".join(sorted(changed))
            used = ", ".join(f"{stage.name}/{key}" for key, stage in list(old.items())[:3])
            if len(old) > 3:
                used += f" and {len(old) - 3} more"
            console.print(
                f"the code of {names_told} has changed since it was used for {used}, which "
                f"stay as they are. To make them anew: nlg-distill store rm {' '.join(old)}",
                style="yellow",
                soft_wrap=True,
            )

    def folders(self) -> Iterator[Path]:
        """The folders that bear an artifact's name, whether whole or not."""
        folders = (path for path in self.root.glob("*/*") if path.is_dir())
        yield from sorted(path for path in folders if not path.suffix)  # .partial, .damaged-…

    def entries(self) -> Iterator[Path]:
        """The folders of all finished artifacts."""
        yield from (path for path in self.folders() if (path / "metadata.json").is_file())

    def unfinished(self) -> Iterator[Path]:
        """What was begun and not finished, or set aside as damaged, and nobody works on."""
        for path in sorted(self.root.glob("*/*.*")):
            if path.is_dir() and not self._is_worked_on(path.with_suffix(".lock")):
                yield path

    def _is_worked_on(self, lock: Path) -> bool:
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True

    def damage(self, path: Path) -> str | None:
        """What is wrong with an artifact, if anything."""
        try:
            checksums = json.loads((path / "metadata.json").read_text())["checksums"]
        except (OSError, json.JSONDecodeError, KeyError) as error:
            return f"metadata.json cannot be read ({error})"
        for name, expected in checksums.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if _sha256(path / name) != expected:
                return f"{name} does not have its checksum"
        return None

    def remove(self, keys: Sequence[str], *, force: bool) -> list[Path]:
        """Deletes the artifacts with these keys and gives their folders.

        Raises:
            UserError: if there is no such artifact, or others were made from it and not `force`.
        """
        entries = {path.name: path for path in self.entries()}
        if unknown := sorted(set(keys) - set(entries)):
            raise UserError(f"no artifact {', '.join(unknown)} under {self.root.absolute()}")
        for path in set(entries.values()) - {entries[key] for key in keys}:
            used = {p.split("/")[1] for p in metadata(path)["parents"].values()} & set(keys)
            if used and not force:
                raise UserError(
                    f"{path} was made from {', '.join(sorted(used))}: remove it too, or give "
                    f"--force"
                )
        for key in keys:
            shutil.rmtree(entries[key])
        return [entries[key] for key in keys]

    def _is_intact(self, stage: Stage) -> bool:
        if not self.has(stage):
            return False
        path = self.path(stage)
        problem = self.damage(path)
        if problem is None:
            return True
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        path.rename(aside)
        console.print(
            f"{stage.name} {stage.key}: {problem}; set aside as {aside}, making it again",
            style="yellow",
        )
        return False

    def _lock(self, path: Path) -> FileLock:
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            lock.acquire(timeout=0)
            lock.release()
        except Timeout:
            console.print(f"waiting for another process that makes {path}")
        return lock

    def _publish(self, stage: Stage, partial: Path, seconds: float) -> None:
        shutil.rmtree(partial / "work", ignore_errors=True)
        files = sorted(p for p in partial.rglob("*") if p.is_file() and p.name != "metadata.json")
        metadata = {
            "stage": stage.name,
            "version": stage.version,
            "key": stage.key,
            "parents": {r: f"{p.name}/{p.key}" for r, p in stage.parents.items()},
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            **environment(),
            "code": code_of(stage.config),
            "checksums": {str(p.relative_to(partial)): _sha256(p) for p in files},
        }
        write_json(partial / "metadata.json", metadata)
        for file in [*files, partial / "metadata.json"]:
            file.chmod((partial / "metadata.json").stat().st_mode)  # safetensors keeps others out
            _fsync(file)
        partial.rename(self.path(stage))
        _fsync(partial.parent)


def metadata(path: Path) -> dict[str, Any]:
    """What is known of a finished artifact.

    Raises:
        UserError: if `path` is not one.
    """
    file = path / "metadata.json"
    if not file.is_file():
        raise UserError(f"{path} is not an artifact: it has no metadata.json")
    facts: dict[str, Any] = json.loads(file.read_text())
    return facts


def write_json(path: Path, value: Any) -> None:
    """Plain data as JSON, for people to read; a file is there as a whole or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _write_yaml(path: Path, value: Any) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _import(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
