"""A text file with what a black box wrote elsewhere, such as behind an API."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from nlg_distill.data.text_files import read_lines
from nlg_distill.errors import UserError
from nlg_distill.teachers.black_box import BlackBox

HAND_OUT = "nlg-distill sources FILE data=..."


class TextFile(BlackBox):
    """Line n is the text for training source n, UTF-8."""

    answers_training_alone: ClassVar[bool] = True

    def __init__(self, *, path: str) -> None:
        """Reads `path`.

        Raises:
            UserError: if there is no such file, or a line is empty or not UTF-8.
        """
        self.path = path
        self.texts = [line.strip() for line in read_lines(Path(path))]
        if empty := [number for number, text in enumerate(self.texts, start=1) if not text]:
            raise UserError(
                f"{path}, line {empty[0]} is empty{_others(len(empty) - 1)}: every training source "
                f"needs a text, so let the black box answer it again"
            )

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """A hash of the file.

        Raises:
            UserError: if there is no such file.
        """
        path = Path(settings["path"])
        if not path.is_file():
            raise UserError(
                f"there is no file {path.absolute()}: it holds a text for each training source, "
                f"which {HAND_OUT} writes one a line"
            )
        return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def write(self, sources: Sequence[str], begin: int) -> Iterator[str]:
        """The lines.

        Raises:
            UserError: if there are more or fewer than sources.
        """
        if len(self.texts) != len(sources):
            raise UserError(
                f"{self.path} has {len(self.texts)} lines, and there are {len(sources)} training "
                f"sources: line n must be the text for source n. {HAND_OUT} writes the sources in "
                f"their order, one a line"
            )
        yield from self.texts[begin:]


def _others(count: int) -> str:
    return f", and {count} more" if count else ""
