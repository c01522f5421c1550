"""The numbers of results: which there are, how they are called and written, what is better."""

import math
from collections.abc import Mapping
from typing import Any, Literal

Direction = Literal["min", "max"]
WRITTEN = {  # by a number's name: how it is called, and how it is written
    "bleu": ("BLEU", ".1f"),
    "chrf": ("chrF", ".1f"),
    "rouge": ("ROUGE", ".1f"),
    "rouge_1": ("ROUGE-1", ".1f"),
    "rouge_2": ("ROUGE-2", ".1f"),
    "rouge_l": ("ROUGE-L", ".1f"),
    "sari": ("SARI", ".1f"),
    "distinct_1": ("distinct-1", ".1%"),
    "distinct_2": ("distinct-2", ".1%"),
    "length_ratio": ("length ratio", ".2f"),
    "repetition": ("repetition", ".1%"),
    "source_words_per_second": ("source words/s", ",.0f"),
    "perplexity": ("PPL", ".1f"),
    "bits_per_byte": ("bits per byte", ".3f"),
    "mode_probability": ("p(ŷ)", ".2%"),
    "parameters": ("parameters", ",.0f"),
    "megabytes": ("MB", ".1f"),
    "total_training_seconds": ("s trained", ",.0f"),
    "training_seconds": ("s of the last training", ",.0f"),
    "teacher_seconds": ("s of teachers", ",.0f"),
    "seconds_with_teachers": ("s with teachers", ",.0f"),
    "peak_megabytes": ("peak MB", ",.0f"),
    "steps": ("steps", ",.0f"),
    "training_pairs": ("training pairs", ",.0f"),
    "left_out_as_too_long": ("pairs too long", ",.0f"),
}
BETTER: Mapping[str, Direction] = {
    **dict.fromkeys(("bleu", "chrf", "rouge", "rouge_1", "rouge_2", "rouge_l", "sari"), "max"),
    **dict.fromkeys(("distinct_1", "distinct_2", "source_words_per_second"), "max"),
    **dict.fromkeys(("perplexity", "bits_per_byte", "megabytes", "training_seconds"), "min"),
    **dict.fromkeys(("parameters", "total_training_seconds", "peak_megabytes"), "min"),
    **dict.fromkeys(("teacher_seconds", "seconds_with_teachers"), "min"),
}
NO_METRICS = ("seed", "decoding", "artifacts", "packages")


def how_written(metric: str) -> tuple[str, str]:
    """A metric's name for readers, and the format of its number."""
    return WRITTEN.get(metric, (metric.replace("_", " "), ".4g"))


def numbers(result: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | None]:
    """Every number of a result by its path, such as `beam_5/bleu`; None where it is not finite."""
    found: dict[str, float | int | None] = {}
    for name, value in result.items():
        if not prefix and name in NO_METRICS:
            continue
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = value if math.isfinite(value) else None
    return found
