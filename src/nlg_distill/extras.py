"""Packages that come with an extra of this project, and not with the project itself."""

import importlib.metadata
import re


def install(package: str) -> str | None:
    """The command that installs the first extra which brings `package`; None if none does."""
    for requirement in importlib.metadata.requires("nlg-distill") or ():
        extra = re.search(r'extra == "(?!dev")([\w-]+)"', requirement)
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if extra and name.replace("-", "_") == package:
            return f"pip install -e '.[{extra[1].replace('-', '_')}]'"
    return None
