"""Cleaning, splits that do not leak, and the report that shows it."""

import random
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nlg_distill.data.corpus import Pair
from nlg_distill.errors import UserError

Splits = dict[str, list[Pair]]
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which raw pairs are no examples.

    Args:
        max_words: longest source or target, counted between spaces.
        max_characters: the same for scripts without spaces.
        drop_bad_lines: leave out empty and overlong texts and count them, instead of stopping.
    """

    max_words: int
    max_characters: int
    drop_bad_lines: bool

    def __call__(self, pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
        """Pairs without surrounding space, bad lines and exact duplicates, and what was left out.

        Raises:
            UserError: at the first empty or overlong text, unless `drop_bad_lines`.
        """
        counts = Counter[str]()
        kept: dict[tuple[str, str], Pair] = {}
        for raw in pairs:
            counts["raw"] += 1
            pair = Pair(raw.source.strip(), raw.target.strip(), raw.place)
            if problem := self._problem(pair):
                if not self.drop_bad_lines:
                    raise UserError(
                        f"{pair.place}: {problem}. Mend the line, or leave such lines out with "
                        f"data.cleaning.drop_bad_lines=true"
                    )
                counts[problem.split(":")[0]] += 1
            elif kept.setdefault((pair.source, pair.target), pair) is not pair:
                counts["exact duplicates"] += 1
        return list(kept.values()), dict(counts)

    def _problem(self, pair: Pair) -> str | None:
        for side, text in [("source", pair.source), ("target", pair.target)]:
            if not text:
                return f"empty {side}"
            if len(text) > self.max_characters:
                return (
                    f"overlong {side}: {len(text)} characters, "
                    f"data.cleaning.max_characters is {self.max_characters}"
                )
            if (words := text.count(" ") + 1) > self.max_words:
                return (
                    f"overlong {side}: {words} words, data.cleaning.max_words is {self.max_words}"
                )
        return None


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How many pairs are held out, and the seed that picks them."""

    validation: int
    test: int
    seed: int

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        for name, count in (("validation", self.validation), ("test", self.test)):
            if count < 1:
                raise UserError(f"{name} must be at least 1 pair, got {count}")

    def __call__(self, pairs: Sequence[Pair]) -> Splits:
        """Train, validation and test, disjoint.

        Held-out pairs are taken from those whose source and whose target occur once in the whole
        corpus: each is a connected component of its own, so none straddles two splits.

        Raises:
            UserError: if too few pairs are left to train on.
        """
        sources = Counter(pair.source for pair in pairs)
        targets = Counter(pair.target for pair in pairs)
        alone = [i for i, p in enumerate(pairs) if sources[p.source] == targets[p.target] == 1]
        held_out = self.validation + self.test
        if len(alone) < held_out or len(pairs) < 2 * held_out:
            raise UserError(
                f"of {len(pairs)} pairs, {len(alone)} occur once on both sides: too few to hold "
                f"out validation={self.validation} + test={self.test}, and as many pairs must be "
                f"left to train on. Lower data.splitting.test and data.splitting.validation, or "
                f"give more text."
            )
        random.Random(self.seed).shuffle(alone)
        test, validation = set(alone[: self.test]), set(alone[self.test : held_out])
        return {
            "train": [p for i, p in enumerate(pairs) if i not in test and i not in validation],
            "validation": [pairs[i] for i in sorted(validation)],
            "test": [pairs[i] for i in sorted(test)],
        }


def normalise(text: str) -> str:
    """The text lower-cased, its punctuation and repeated spaces dropped."""
    return _NOT_WORD.sub(" ", text.lower()).strip()


def hygiene_report(splits: Splits, cleaned: dict[str, int]) -> dict[str, object]:
    """Counts, lengths and overlaps of the splits, as plain data.

    `near_duplicates` counts held-out pairs that meet the training split after `normalise`: on the
    source side, on the target side, and as a whole pair.
    """
    train = splits["train"]
    train_sources = {normalise(pair.source) for pair in train}
    train_targets = {normalise(pair.target) for pair in train}
    train_pairs = {(normalise(pair.source), normalise(pair.target)) for pair in train}
    report: dict[str, object] = {"cleaning": cleaned}
    for name, pairs in splits.items():
        facts: dict[str, object] = {
            "pairs": len(pairs),
            "source": _lengths([pair.source for pair in pairs]),
            "target": _lengths([pair.target for pair in pairs]),
        }
        if name != "train":
            both = [(normalise(pair.source), normalise(pair.target)) for pair in pairs]
            facts["near_duplicates_in_train"] = {
                "source": sum(source in train_sources for source, _ in both),
                "target": sum(target in train_targets for _, target in both),
                "pair": sum(pair in train_pairs for pair in both),
            }
            facts["exact_duplicates_in_train"] = _exact_overlap(train, pairs)
        report[name] = facts
    return report


def _exact_overlap(train: Sequence[Pair], held_out: Sequence[Pair]) -> int:
    sources, targets = {p.source for p in train}, {p.target for p in train}
    return sum(p.source in sources or p.target in targets for p in held_out)


def _lengths(texts: Sequence[str]) -> dict[str, float | int]:
    words = [len(text.split()) for text in texts]
    return {
        "words": sum(words),
        "mean_words": round(statistics.fmean(words), 2),
        "longest_words": max(words),
        "mean_characters": round(statistics.fmean(len(text) for text in texts), 2),
        "distinct_texts": len(set(texts)),
    }
