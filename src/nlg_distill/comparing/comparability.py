"""What a number depends on beside the model: numbers made under other conditions say nothing."""

from collections.abc import Sequence
from typing import Any

from nlg_distill.runs.grouping import TEST_SET, ComparedRun, Group
from nlg_distill.tables.parts import SECONDS, known

ON_MACHINE = (
    *("training_seconds", SECONDS, "teacher_seconds", "seconds_with_teachers"),
    "peak_megabytes",
)
OF_MODEL = ("parameters", "megabytes", "steps", "training_pairs", "left_out_as_too_long")
SPEED = ("device", "threads", "batch_tokens", "precision")


def conditions(metric: str, run: ComparedRun) -> dict[str, str]:
    """By what they are called, the conditions under which a run's number at a path was made."""
    result, name = run.result, metric.split("/")[-1]
    decoding = result.get("decoding", {})  # a black box has none
    found: dict[str, str | None] = {}
    if name == "source_words_per_second":
        found = {f"decoding {key}": decoding.get(key) for key in SPEED}
    if name in (*ON_MACHINE, "source_words_per_second"):
        found |= {"machine": result["machine"], "device": decoding.get("device")}
    elif name.startswith("best_validation_"):
        found = {"corpus": result["artifacts"]["corpus"]}
    elif name not in OF_MODEL:
        further = metric.startswith("further_tests/")
        tests = result["artifacts"].get("further_tests") if further else run.test_set
        found = {TEST_SET: tests, "scoring precision": run.precision}
        if name == "perplexity":
            found["tokenizer"] = result["artifacts"].get("tokenizer")
        found["signature"] = signature(metric, result)
    return {key: str(value) for key, value in found.items() if value is not None}


def differing(metric: str, rows: Sequence[Group]) -> dict[str, dict[str, list[str]]]:
    """The conditions of a metric in which rows differ: their values, each with its rows."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for run in row.runs:
            if known(run.metrics, metric):
                for name, value in conditions(metric, run).items():
                    having = found.setdefault(name, {}).setdefault(value, [])
                    if row.label not in having:
                        having.append(row.label)
    return {name: values for name, values in found.items() if len(values) > 1}


def signature(metric: str, result: dict[str, Any]) -> str | None:
    """How the number at a path was made, as `rouge_signature` says of `rouge_l` beside it."""
    *path, name = metric.split("/")
    for key in path:
        result = result.get(key, {})
    for key, value in result.items():
        stem, separator, _ = key.partition("_signature")
        if separator and f"{name}_".startswith(f"{stem}_"):
            return str(value)
    return None
