"""A user's own pairs: two text files of equal length, a TSV, or a JSONL."""

import codecs
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlg_distill.data.corpus import OfFiles, Pair, hashes
from nlg_distill.errors import UserError


class TextFiles(OfFiles):
    """Pairs read from local files, UTF-8, one example per line."""

    def __init__(
        self,
        *,
        path: str | None = None,
        source_path: str | None = None,
        target_path: str | None = None,
        source_column: str,
        target_column: str,
    ) -> None:
        """Takes either `path` or both `source_path` and `target_path`.

        Args:
            path: a `.tsv` whose first line names its columns, or a `.jsonl` of objects.
            source_path: a text file, one source per line.
            target_path: a text file, the target of each line of `source_path`.
            source_column: column or key of the source in `path`.
            target_column: column or key of the target in `path`.

        Raises:
            UserError: if the files are not given in one of the two ways.
        """
        two_files = bool(source_path) and bool(target_path)
        if bool(path) == two_files or (bool(path) and bool(source_path or target_path)):
            raise UserError(
                "text files are given as data.corpus.path=pairs.tsv (or .jsonl), or as both "
                "data.corpus.source_path=... and data.corpus.target_path=...; got "
                f"path={path}, source_path={source_path}, target_path={target_path}"
            )
        self.path, self.source_path, self.target_path = path, source_path, target_path
        self.source_column, self.target_column = source_column, target_column

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """A hash of each file.

        Raises:
            UserError: if there is no such file.
        """
        names = ("path", "source_path", "target_path")
        return hashes({name: settings[name] for name in names if settings.get(name)})

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Pairs in the files' order."""
        if self.source_path and self.target_path:
            yield from _read_two(Path(self.source_path), Path(self.target_path))
            return
        path = Path(str(self.path))
        if path.suffix not in (".tsv", ".jsonl"):
            raise UserError(f"{path} must end in .tsv or .jsonl, not in {path.suffix!r}")
        rows = _tsv_rows(path) if path.suffix == ".tsv" else _jsonl_rows(path)
        for number, row in rows:
            for column in (self.source_column, self.target_column):
                if not isinstance(row.get(column), str):
                    raise UserError(
                        f"{path}, line {number}: no text in column {column!r} of "
                        f"{sorted(row)}: the first line of a .tsv names its columns, a .jsonl "
                        f"holds strings; set data.corpus.source_column and "
                        f"data.corpus.target_column to the names in the file"
                    )
            yield Pair(row[self.source_column], row[self.target_column], f"{path}:{number}")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without their ends.

    Raises:
        UserError: if the file is missing or a line is not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path.absolute()}")
    raw = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not raw[-1]:
        raw.pop()
    lines = []
    for number, line in enumerate(raw, start=1):
        try:
            lines.append(line.decode("utf-8").rstrip("\r"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number} is not UTF-8 ({error.reason} at byte {error.start}): "
                f"convert the file, for example with iconv -t utf-8"
            ) from error
    return lines


def _read_two(source_path: Path, target_path: Path) -> Iterator[Pair]:
    sources, targets = read_lines(source_path), read_lines(target_path)
    if len(sources) != len(targets):
        raise UserError(
            f"{source_path} has {len(sources)} lines but {target_path} has {len(targets)}: "
            f"line n of one must be the translation of line n of the other"
        )
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1):
        yield Pair(source, target, f"{source_path}:{number}")


def _tsv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    lines = read_lines(path)
    header = lines[0].split("\t") if lines else []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t") if line else [""] * len(header)  # an empty line is a bad line
        if len(cells) != len(header):
            raise UserError(
                f"{path}, line {number}: {len(cells)} columns, but the first line names "
                f"{len(header)} ({', '.join(header)})"
            )
        yield number, dict(zip(header, cells, strict=True))


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number} is a {type(row).__name__}, not an object")
        yield number, row
