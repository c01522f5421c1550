"""What teachers and students wrote for a test set, beside its gold texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from nlg_distill.errors import UserError
from nlg_distill.html_report.block import size
from nlg_distill.html_report.learning import evenly
from nlg_distill.html_report.scores import signatures
from nlg_distill.runs.finished import FinishedRun


@dataclass(frozen=True)
class Writer:
    """A model, or a black box, and its text for each source of the test set.

    Args:
        artifact: what it is in the store; several teachers that write together are joined by ` + `.
        teaches: whether it is a teacher.
        texts: one for each source.
        own: the runs that it is the model of.
        taught: the runs whose student it taught.
    """

    artifact: str
    teaches: bool
    texts: Sequence[str]
    own: list[int] = field(default_factory=list)
    taught: list[int] = field(default_factory=list)


def written(runs: Mapping[int, FinishedRun], most: int, budget: int) -> dict[str, Any] | None:
    """A choice of the texts of one test set, evenly spread, with sentence BLEU against gold.

    Args:
        runs: of one corpus, by their numbers.
        most: how many texts at most of each writer.
        budget: bytes that all of them may take; fewer texts are chosen where they are long.

    Returns:
        None where no texts were written.

    Raises:
        UserError: if two runs of one corpus were scored on different texts.
    """
    writers = all_writers(runs)
    if not writers:
        return None
    first = next(iter(runs.values())).samples
    sources, gold = [s["source"] for s in first], [s["gold"] for s in first]
    columns = [sources, gold, *(writer.texts for writer in writers)]
    per_text = sum(size(text) for texts in columns for text in texts) / len(gold)
    chosen = evenly(len(gold), min(most, int(budget / per_text)))
    score, signature = sentence_bleu(next(iter(runs.values())).result)
    return {
        "total": len(gold),
        "chosen": chosen,
        "source": [sources[i] for i in chosen],
        "gold": [gold[i] for i in chosen],
        "signature": signature,
        "writers": [_shown(writer, chosen, gold, score) for writer in writers],
    }


def all_writers(runs: Mapping[int, FinishedRun]) -> list[Writer]:
    """Teachers first; a teacher that taught several students is there once."""
    found: dict[tuple[str, bool, tuple[str, ...]], Writer] = {}

    def writer(artifact: str, teaches: bool, texts: Sequence[str]) -> Writer:
        return found.setdefault((artifact, teaches, tuple(texts)), Writer(artifact, teaches, texts))

    first: FinishedRun | None = None
    for number, run in runs.items():
        first = first or run
        _refuse_other_texts(first, run)
        samples, artifacts = run.samples, run.result["artifacts"]
        if "student" in samples[0]:
            own = writer(
                artifacts["model"],
                run.result["stage"] == "teacher",
                [sample["student"] for sample in samples],
            )
            own.own.append(number)
        elif "teacher" in samples[0]:  # a black box is scored, which has no model
            box = writer(artifacts["teacher_text"], True, [s["teacher"] for s in samples])
            box.own.append(number)
        roles = [role for role in artifacts if role.split("_")[0] == "teacher"]
        teachers = [artifacts[role] for role in sorted(roles) if role != "teacher_text"]
        if teachers and "teacher" in samples[0]:
            texts = [sample["teacher"] for sample in samples]
            writer(" + ".join(teachers), True, texts).taught.append(number)
    return sorted(found.values(), key=lambda each: not each.teaches)


def _refuse_other_texts(first: FinishedRun, run: FinishedRun) -> None:
    pairs = [[(s["source"], s["gold"]) for s in each.samples] for each in (first, run)]
    if not pairs[1] or pairs[0] != pairs[1]:
        raise UserError(
            f"{run.folder}/samples.jsonl has other test texts than {first.folder}/samples.jsonl, "
            f"though both are of {run.result['artifacts']['corpus']}: make one of the runs again"
        )


def sentence_bleu(result: Mapping[str, Any]) -> tuple[Callable[[str, str], float], str]:
    """BLEU of one text against its gold text, 0 to 100, and its signature.

    Of effective order: n-grams that a short text cannot have do not count. Words are those of the
    run's own BLEU, or sacreBLEU's (13a) where it has none.
    """
    made = [s for path, s in signatures(result).items() if path.split("/")[-1] == "bleu"]
    facts = dict(part.split(":", 1) for part in made[0].split("|")) if made else {}
    metric = BLEU(tokenize=facts.get("tok", "13a"), effective_order=True)
    metric.sentence_score("", [""])  # a signature tells the number of references

    @cache
    def score(text: str, gold: str) -> float:
        return round(float(metric.sentence_score(text, [gold]).score), 1)

    return score, str(metric.get_signature())


def _shown(
    writer: Writer,
    chosen: Sequence[int],
    gold: Sequence[str],
    score: Callable[[str, str], float],
) -> dict[str, Any]:
    return {
        "artifact": writer.artifact,
        "teaches": writer.teaches,
        "own": writer.own,
        "taught": writer.taught,
        "texts": [writer.texts[i] for i in chosen],
        "bleu": [score(writer.texts[i], gold[i]) for i in chosen],
    }
