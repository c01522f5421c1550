"""Hugging Face checkpoints: where they are, what identifies them, and the library for them."""

import hashlib
import importlib
import re
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nlg_distill.errors import UserError
from nlg_distill.extras import install

GGUF = ".gguf"
MEBIBYTE = 1 << 20
OPENING = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    ImportError,
    SafetensorError,
    struct.error,
)
"""What transformers raises where a file is not what it should be."""


def library() -> Any:
    """The package transformers, without its progress bars.

    Raises:
        UserError: if it is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"Hugging Face models need an extra of this project: {install('transformers')}"
        ) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def place(path: str) -> dict[str, str]:
    """Where `from_pretrained` looks: a name, a folder, or a folder and the GGUF file in it.

    A name in a hub may have a revision behind an @: `name@revision`, a commit, tag or branch.

    Raises:
        UserError: if a folder or a GGUF file is not there, or the file is none.
    """
    file = Path(path)
    if file.suffix != GGUF:
        name, at, revision = path.rpartition("@")
        if at and not file.exists():
            return {"pretrained_model_name_or_path": name, "revision": revision}
        if file.is_absolute() and not file.exists():
            raise UserError(f"path={path}: there is no such folder: give that of a checkpoint")
        return {"pretrained_model_name_or_path": path}
    if not file.is_file():
        raise UserError(
            f"path={path}: there is no such file: give the path of one, or fetch SmolLM2's with "
            f"nlg-distill fetch-smollm2"
        )
    with file.open("rb") as content:
        if content.read(4) != b"GGUF":
            raise UserError(
                f"path={path} is no GGUF file, since it does not begin with GGUF: give another, or "
                f"fetch it again"
            )
    return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def read_config(path: str) -> Any:
    """The config of a checkpoint.

    Raises:
        UserError: if there is none.
    """
    transformers = library()
    try:
        return transformers.AutoConfig.from_pretrained(**place(path))
    except UserError:
        raise
    except OPENING as error:
        raise UserError(
            f"path={path} holds no model that transformers can open ({first_line(error)}): give "
            f"the folder of a checkpoint with its config.json, a GGUF file, or a model's name"
        ) from error


def fingerprint(path: str) -> dict[str, str]:
    """What identifies the content of a local path, by file; a name in a hub stands for itself.

    Of each file: its size, and a hash of its first and last MiB.

    Raises:
        UserError: if a folder or a GGUF file is not there, or the file is none.
    """
    place(path)
    root = Path(path)
    files = sorted(f for f in root.rglob("*") if f.is_file()) if root.is_dir() else [root]
    return {str(f.relative_to(root.parent)): _ends(f) for f in files if f.is_file()}


def _ends(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(MEBIBYTE))
        content.seek(max(0, size - MEBIBYTE))
        digest.update(content.read())
    return f"{size} {digest.hexdigest()[:16]}"


def first_line(error: Exception) -> str:
    """The error's name and how its message begins; the extra that brings a missing package."""
    message = str(error).strip()
    line = f"{type(error).__name__}: {message.splitlines()[0] if message else ''}"
    named = re.findall(r"\w+", message) if isinstance(error, ImportError) else []
    extra = next(filter(None, map(install, named)), None)
    return f"{line}: {extra}" if extra else line
