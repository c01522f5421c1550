"""Tokenizers of Hugging Face checkpoints."""

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nlg_distill.data.batch import SpecialIds
from nlg_distill.data.spans import Place
from nlg_distill.data.tokenizer import Tokenizer, TokenizerMaker
from nlg_distill.errors import UserError
from nlg_distill.hugging_face import OPENING, fingerprint, first_line, library, place, read_config

FILENAME = "special_ids.json"
SOURCE = "{source}"
GIVE = "give the folder of a checkpoint with its tokenizer, or a GGUF file"
SIDES = ("text", "text_target")
LANGUAGES = {"source_language": "src_lang", "target_language": "tgt_lang"}


class HFTokenizer(Tokenizer):
    """A tokenizer of transformers.

    Sources are what `tokenizer(text)` gives, targets what `tokenizer(text_target=text)` gives, each
    without the end token, which a batch adds. What it puts before a text, such as BART's `<s>` or a
    language, is part of the ids; a language is also what every text begins with that a model
    writes. A target that goes on where a prompt stops, as in decoder-only models, is encoded
    without any special token.

    What looks like a special token in a text is text: it gets a space after its first character,
    as in `< /s>`. In a prompt it is the token.
    """

    def __init__(
        self, tokenizer: Any, special: SpecialIds, *, continues: bool, prompt: str | None
    ) -> None:
        """Wraps a tokenizer.

        Args:
            tokenizer: one of transformers.
            special: ids of the tokens that are not text.
            continues: whether a target goes on where its source stops.
            prompt: a source as the model reads it, with `{source}` where the text stands.
        """
        self.special, self._tokenizer = special, tokenizer
        self.unknown_id: int | None = tokenizer.unk_token_id
        self._continues, self._prompt = continues, prompt
        self._names: dict[int, str] = {i: name for name, i in tokenizer.get_vocab().items()}
        self.vocab_size: int = max(self._names) + 1
        self._ends = {side: self.last_added(side) == special.end for side in SIDES}
        added = tokenizer.added_tokens_decoder.values()
        names = {str(token) for token in added if token.special} | {*tokenizer.all_special_tokens}
        longest_first = sorted(names, key=len, reverse=True)
        self._looks_special = re.compile("|".join(map(re.escape, longest_first)))

    @property
    def pieces(self) -> list[str]:
        """The vocabulary, in the order of the ids; some ids may have no piece."""
        return [self._names.get(i, f"(no piece {i})") for i in range(self.vocab_size)]

    def encode_sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each source, inside the prompt if there is one."""
        texts = [self._as_text(text) for text in texts]
        if self._prompt is not None:
            texts = [self._prompt.replace(SOURCE, text) for text in texts]
        return self._encode("text", texts)

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each target."""
        texts = [self._as_text(text) for text in texts]
        return self._encode("text_target", texts, special=not self._continues)

    def target_places(self, texts: Sequence[str]) -> list[list[Place]]:
        """Where in its text each token of a target stands; special tokens have no width.

        Raises:
            UserError: if the tokenizer is none of the fast ones, which alone can tell.
        """
        self.refuse_without_places()
        read = [self._as_text(text) for text in texts]
        places = self._encode("text_target", read, special=not self._continues, places=True)
        return [self._places_in(text, row) for text, row in zip(texts, places, strict=True)]

    def refuse_without_places(self) -> None:
        """Refuses a tokenizer that cannot tell where its tokens stand in a text.

        Raises:
            UserError: if it cannot.
        """
        if not self._tokenizer.is_fast:
            raise UserError(
                f"a {type(self._tokenizer).__name__} cannot tell where its tokens stand in a text, "
                f"so that they cannot be aligned with another tokenizer's: take a model with a "
                f"tokenizer.json, or train on the teacher's text alone with targets=teacher_beam "
                f"loss=[nll]"
            )

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids, without special tokens."""
        rows = [list(sequence) for sequence in ids]
        texts: list[str] = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts

    def last_added(self, side: str) -> int | None:
        """What the tokenizer itself puts behind a `text` or a `text_target`, if anything."""
        whole, bare = (
            self._tokenizer(**{side: "a"}, add_special_tokens=added)["input_ids"]
            for added in (True, False)
        )
        last: int = whole[-1]
        return None if last == bare[-1] else last

    def _as_text(self, text: str) -> str:
        return self._looks_special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _places_in(self, text: str, places: Sequence[Place]) -> list[Place]:
        """The places of tokens of `_as_text`, without the spaces that it put in."""
        put_in = [
            found.start() + 1 + i for i, found in enumerate(self._looks_special.finditer(text))
        ]
        return [(b - bisect_left(put_in, b), e - bisect_left(put_in, e)) for b, e in places]

    def _encode(
        self,
        side: str,
        texts: Sequence[str],
        *,
        special: bool = True,
        places: bool = False,
    ) -> list[list[Any]]:
        """The ids of each text, or their `places`, without those of the end token."""
        if not texts:
            return []
        asked = {"return_offsets_mapping": True} if places else {}
        given = self._tokenizer(**{side: list(texts)}, add_special_tokens=special, **asked)
        rows: list[list[Any]] = given["offset_mapping" if places else "input_ids"]
        return [row[:-1] for row in rows] if special and self._ends[side] else rows


class Pretrained(TokenizerMaker):
    """The tokenizer of a checkpoint, as it is."""

    def __init__(
        self,
        *,
        path: str,
        prompt: str | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> None:
        """Keeps the settings.

        Args:
            path: a checkpoint's name, folder, or GGUF file, with its model's config.
            prompt: a source as the model reads it, with `{source}` where the text stands, such as
                T5's `translate English to German: {source}`; special tokens in it are encoded as
                such.
            source_language: its code, for tokenizers of many languages.
            target_language: its code, for tokenizers of many languages.

        Raises:
            UserError: if `prompt` does not name the source once.
        """
        if prompt is not None and prompt.count(SOURCE) != 1:
            raise UserError(f"prompt must have {SOURCE} in it once, got {prompt!r}")
        self.path, self.prompt = path, prompt
        self.languages = {"source_language": source_language, "target_language": target_language}

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """Number of pieces."""
        return self._opened.vocab_size

    @property
    def special(self) -> SpecialIds:  # type: ignore[override]
        """The ids of the tokens that are not text."""
        return self._opened.special

    @cached_property
    def _opened(self) -> HFTokenizer:
        config, tokenizer = read_config(self.path), self._read(self.path)
        continues = not config.is_encoder_decoder
        special = _special_ids(self.path, tokenizer, config, continues=continues)
        made = HFTokenizer(tokenizer, special, continues=continues, prompt=self.prompt)
        if not continues:
            self._refuse_other_ends(made)
        self._refuse_two_begins(made)
        return self._in_its_language(made)

    def make(self, texts: Sequence[str], folder: Path) -> None:
        """Writes the tokenizer's files, which `AutoTokenizer` reads, too; `texts` change nothing.

        Raises:
            UserError: if there is no such tokenizer, or it does not fit.
        """
        made = self._opened
        made._tokenizer.save_pretrained(folder)
        told = {**asdict(made.special), "continues": made._continues}
        del told["first"]  # which the tokenizer itself knows
        (folder / FILENAME).write_text(json.dumps(told) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> HFTokenizer:
        """The tokenizer in `folder`."""
        told = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
        continues = told.pop("continues")
        tokenizer = self._read(str(folder))
        special = SpecialIds(**told)
        made = HFTokenizer(tokenizer, special, continues=continues, prompt=self.prompt)
        return self._in_its_language(made)

    def refuse_without_places(self) -> None:
        """Raises a UserError where its tokenizer cannot tell where tokens stand in a text."""
        self._opened.refuse_without_places()

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What stands at a local path; see `fingerprint`."""
        return fingerprint(settings["path"])

    def _read(self, path: str) -> Any:
        given = {LANGUAGES[name]: code for name, code in self.languages.items() if code is not None}
        try:
            tokenizer = library().AutoTokenizer.from_pretrained(**place(path), **given)
            tokenizer(**{"text_target" if given else "text": ""})  # looks up a target's language
        except (*OPENING, TypeError) as error:
            if given and isinstance(error, KeyError):
                raise UserError(f"{self._said}: {path} has no language {error}") from error
            told = f"path={path} holds no tokenizer ({first_line(error)}): {GIVE}"
            raise UserError(told) from error
        files = ["tokenizer.json", *tokenizer.vocab_files_names.values()]
        if Path(path).is_dir() and not any(Path(path, name).is_file() for name in files):
            # transformers makes an empty one
            raise UserError(f"path={path} holds no tokenizer, such as {files[0]}: {GIVE}")
        for name, code in self.languages.items():
            if code is not None and not hasattr(tokenizer, LANGUAGES[name]):
                raise UserError(f"{name}={code} changes nothing: {path} knows no languages")
            if code is None and hasattr(tokenizer, LANGUAGES[name]):
                raise UserError(
                    f"{path} has a token for every language: give data.tokenizer.source_language "
                    f"and target_language, as in target_language=de_DE"
                )
        return tokenizer

    @property
    def _said(self) -> str:
        return ", ".join(f"{name}={code}" for name, code in self.languages.items() if code)

    def _in_its_language(self, made: HFTokenizer) -> HFTokenizer:
        """The same, which says what every text begins with, where it has a language to be in."""
        if self.languages["target_language"] is None:
            return made
        (whole,), (bare,) = made.encode_targets(["a"]), made.encode_targets([""])
        unknown = {*made.encode_sources([""])[0], whole[0]} & {made.unknown_id}
        if not bare or whole[0] != bare[0] or whole[0] >= made.vocab_size or unknown:
            raise UserError(
                f"{self._said}: {self.path} has no tokens for both that stand before a text: give "
                f"languages by the names that the tokenizer has for them, or choose another"
            )
        made.special = replace(made.special, first=whole[0])
        return made

    def _refuse_two_begins(self, made: HFTokenizer) -> None:
        """Refuses a prompt that begins with what the tokenizer puts before every text."""
        begin = made._tokenizer.bos_token_id
        (ids,) = made.encode_sources([""])
        if begin is not None and ids[:2] == [begin, begin]:
            raise UserError(
                f"prompt={self.prompt!r} begins with {made.pieces[begin]}, which the tokenizer of "
                f"{self.path} adds itself: leave it out"
            )

    def _refuse_other_ends(self, made: HFTokenizer) -> None:
        """Refuses a tokenizer whose texts do not end with the end token."""
        for side in SIDES:
            last = made.last_added(side)
            if last != made.special.end:
                told = "without a special token" if last is None else f"with {made.pieces[last]}"
                raise UserError(
                    f"path={self.path}: its texts end {told}, and this project ends them with "
                    f"{made.pieces[made.special.end]}: choose another tokenizer"
                )


def _special_ids(path: str, tokenizer: Any, config: Any, *, continues: bool) -> SpecialIds:
    """The ids of a checkpoint: texts begin with its `decoder_start_token_id`, if it has one."""
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError(f"path={path}: its tokenizer has no end token (eos_token)")
    if continues:
        begin = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    else:
        begin = getattr(config, "decoder_start_token_id", None)
        if begin is None:
            raise UserError(f"path={path}: its config.json has no decoder_start_token_id")
    pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return SpecialIds(pad=pad, begin=begin, end=end)
