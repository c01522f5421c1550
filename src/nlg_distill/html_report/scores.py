"""The numbers of runs as columns of the page, and their statistics."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from nlg_distill.runs.metric_facts import BETTER, how_written
from nlg_distill.tables.spec import Column

FACTS = (  # in the order of their columns: the first are of quality, the others of cost
    "perplexity",
    "bits_per_byte",
    "mode_probability",
    "parameters",
    "megabytes",
    "total_training_seconds",
    "training_seconds",
    "steps",
    "training_pairs",
    "left_out_as_too_long",
)
SHOWN = ("perplexity", "mode_probability", "parameters", "total_training_seconds")  # at first
SCORES = ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "sari")  # in the order of columns
SIDE_VIEWS = ("length_ratio", "repetition")  # shown on request
SPEED = "source_words_per_second"


def signatures(result: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """How a number was made, by the number's path."""
    found: dict[str, str] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            found |= signatures(value, f"{prefix}{name}/")
        elif name.endswith("_signature"):
            found[prefix + name.removesuffix("_signature")] = str(value)
    return found


def statistics(values: Sequence[float | int | None]) -> dict[str, float | int | None]:
    """Mean and sample standard deviation: `mean`, `sd`, and `n` runs.

    No mean where a number is not finite, no deviation of one run.
    """
    finite = [value for value in values if value is not None]
    if len(finite) < len(values):
        return {"mean": None, "sd": None, "n": len(values)}
    return {
        "mean": fmean(finite),
        "sd": stdev(finite) if len(finite) > 1 else None,
        "n": len(finite),
    }


def widest_beam(results: Iterable[Mapping[str, Any]]) -> str | None:
    """The last of the beams, whose texts are kept; None where no texts are written."""
    beams = {name for result in results for name in result if name.startswith("beam_")}
    return max(beams, key=_size, default=None)


def main_metric(task: Mapping[str, Any], beam: str | None) -> tuple[str, str]:
    """What the best weights of a task are picked by, on the test set, and its `max` or `min`."""
    monitor = str(task.get("monitor", "val/bleu")).removeprefix("val/")
    if monitor == "nll" or beam is None:
        return "perplexity", "min"
    return f"{beam}/{monitor}", str(task.get("mode", "max"))


def columns(paths: Iterable[str], main: tuple[str, str], beam: str | None) -> list[dict[str, Any]]:
    """How each number is shown, in the order of columns.

    Args:
        paths: of the numbers that any run has.
        main: the main metric, and what is better of it.
        beam: the beam whose scores are shown at first.
    """
    return [
        {
            "path": column.metric,
            "head": column.head,
            "form": column.form,
            "shown": _shown_at_first(column.metric, main[0], beam),
            "better": main[1] if column.metric == main[0] else _better(column.metric),
            "speed": column.metric.endswith(SPEED),
        }
        for column in sorted(map(_column, set(paths)), key=lambda c: _rank(c.metric, beam))
    ]


def _column(path: str) -> Column:
    *places, name = path.split("/")
    head, form = how_written(name)
    beams = [f"K={place.removeprefix('beam_')}" for place in places if place.startswith("beam_")]
    beams += ["drawn"] if "drawn" in places else []
    tests = places[1:2] if places[:1] == ["further_tests"] else []
    return Column(" ".join([head, *beams]) + "".join(f", {test}" for test in tests), path, form)


def _rank(path: str, beam: str | None) -> tuple[int, int, int, str]:
    """Test set itself before further ones; scores of the widest beam, other scores, facts."""
    *places, name = path.split("/")
    further = places[:1] == ["further_tests"]
    if name in FACTS and not further:
        early = name in FACTS[:3]
        return (0 if early else 2, 1 if early else 0, FACTS.index(name), "")
    if name == SPEED:
        return (3, 0 if beam in places else 1, 0, path)
    place = SCORES.index(name) if name in SCORES else len(SCORES)
    if further:
        return (1, 0 if beam in places else 1, place, path)
    beam_first = 0 if beam in places else 2
    return (0 if places else 4, beam_first, place, path)


def _shown_at_first(path: str, main: str, beam: str | None) -> bool:
    *places, name = path.split("/")
    if places[:1] == ["further_tests"]:
        return beam in places and name == main.split("/")[-1]
    if not places:
        return name in SHOWN
    return (beam in places and name not in SIDE_VIEWS) or name == main.split("/")[-1]


def _better(path: str) -> str | None:
    name = path.split("/")[-1]
    return BETTER.get(name) if name in (*SCORES, *FACTS[:2]) else None


def _size(beam: str) -> int:
    return int(beam.removeprefix("beam_"))
