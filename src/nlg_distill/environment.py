"""What an artifact is made with beside its config: versions, commit, machine."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("nlg-distill", "torch", "lightning", "sentencepiece", "sacrebleu")
FACTS = ("packages", "python", "git_commit", "machine")


def environment() -> dict[str, Any]:
    """The `FACTS` of this process."""
    commit = _git("rev-parse", "HEAD")
    known = _git("diff", "HEAD", "--name-only", "--", ":/", ":(top,exclude)tables")  # results
    new = _git("ls-files", "--others", "--exclude-standard", "--", ":/src")
    facts = (
        {name: importlib.metadata.version(name) for name in PACKAGES},
        platform.python_version(),
        f"{commit}-dirty" if known or new else commit or None,
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
    )
    return dict(zip(FACTS, facts, strict=True))


def _processor() -> str:
    """Its architecture, and its model where Linux says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return ", ".join([*models[:1], platform.machine()])


def _git(*command: str) -> str:
    """What git says about the folder of this code; nothing without git, or in no repository."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(
        ["git", *command], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip()
