"""Plain data as JSON that may stand inside a page."""

import json
from typing import Any


def as_block(value: Any) -> str:
    """JSON in which no text can end a `<script>` element or begin a comment.

    `<`, `>` and `&` are written as escapes, which JSON reads back as they were.

    Raises:
        ValueError: if a number is not finite, which JSON cannot say.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def size(text: str) -> int:
    """Bytes that a text takes inside the page."""
    return len(as_block(text).encode("utf-8", "backslashreplace"))
