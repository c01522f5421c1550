"""Cleaning, splits that do not leak, and the report that shows it."""

import random
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nlg_distill.data.corpus import Pair
from nlg_distill.errors import UserError

Splits = dict[str, list[Pair]]
HELD_OUT = ("validation", "test")
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which raw pairs are no examples.

    Args:
        max_words: longest source or target, counted between spaces.
        max_characters: the same for scripts without spaces.
        drop_bad_lines: leave out empty and overlong texts and count them, instead of stopping.
        without_source: the corpus has targets alone, and a source is a bad line.
    """

    max_words: int
    max_characters: int
    drop_bad_lines: bool
    without_source: bool = False

    def __call__(self, pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
        """Pairs without surrounding space, bad lines and exact duplicates, and what was left out.

        No duplicate is left out of a published test or validation split, which come first: what
        stands in one too is left out of training.

        Raises:
            UserError: at the first empty or overlong text, unless `drop_bad_lines`.
        """
        counts = Counter[str]()
        kept: list[Pair] = []
        seen: set[tuple[str, str]] = set()
        for raw in pairs:
            counts["raw"] += 1
            pair = replace(raw, source=raw.source.strip(), target=raw.target.strip())
            if problem := self._problem(pair):
                if not self.drop_bad_lines:
                    raise UserError(
                        f"{pair.place}: {problem}. Mend the line, or leave such lines out with "
                        f"data.cleaning.drop_bad_lines=true"
                    )
                counts[problem.split(":")[0]] += 1
            elif (pair.source, pair.target) in seen and pair.split not in HELD_OUT:
                counts["exact duplicates"] += 1
            else:
                seen.add((pair.source, pair.target))
                kept.append(pair)
        return kept, dict(counts)

    def _problem(self, pair: Pair) -> str | None:
        if self.without_source and pair.source:
            return "unexpected source: data.cleaning.without_source=true is for targets alone"
        sides = [("source", pair.source), ("target", pair.target)]
        for side, text in sides[1 if self.without_source else 0 :]:
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
    """How many pairs are held out and trained on, and the seed that picks them.

    `train` is how many of the pairs that are left are trained on, all where it is None. Those of a
    smaller number are among those of a larger one, and what is held out is the same.
    """

    validation: int
    test: int
    seed: int
    train: int | None = None

    def __post_init__(self) -> None:
        """Checks what the types cannot say."""
        counts = {"validation": self.validation, "test": self.test, "train": self.train}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UserError(f"{name} must be at least 1 pair, got {count}")

    def __call__(self, pairs: Sequence[Pair]) -> Splits:
        """Train, validation and test, disjoint.

        Held-out pairs are taken from those whose source, if there is one, and whose target occur
        once in the whole corpus: none shares a text with another split. Groups are held out as a
        whole; what of a held-out group is not such a pair, or more than was asked for, is in no
        split.

        Raises:
            UserError: if too few pairs are left to train on, or fewer than `train`.
        """
        units = _units(pairs)
        random.Random(self.seed).shuffle(units)
        rest = iter(units)
        test, validation = _take(rest, self.test), _take(rest, self.validation)
        held = {*test, *validation}
        groups = {pairs[i].group for i in held} - {""}
        train = [p for i, p in enumerate(pairs) if i not in held and p.group not in groups]
        held_out = self.validation + self.test
        if len(held) < held_out or len(train) < held_out:
            count = sum(len(unit) for unit in units)
            whole = " in whole groups" if groups else ""
            raise UserError(
                f"of {len(pairs)} pairs, {count} occur once on both sides: too few to hold "
                f"out validation={self.validation} + test={self.test}{whole}, and as many pairs "
                f"must be left to train on. Lower data.splitting.test and "
                f"data.splitting.validation, or give more text."
            )
        return {
            "train": self._trained_on(train),
            "validation": [pairs[i] for i in sorted(validation)],
            "test": [pairs[i] for i in sorted(test)],
        }

    def _trained_on(self, left: list[Pair]) -> list[Pair]:
        if self.train is None:
            return left
        if self.train > len(left):
            raise UserError(
                f"data.splitting.train={self.train}, but {len(left)} pairs are left to train on: "
                f"lower it, or train on all with data.splitting.train=null"
            )
        order = list(range(len(left)))
        random.Random(self.seed).shuffle(order)
        return [left[i] for i in sorted(order[: self.train])]


@dataclass(frozen=True, kw_only=True)
class PublishedSplits:
    """The splits that a corpus is published in, as they are."""

    def __call__(self, pairs: Sequence[Pair]) -> Splits:
        """Train, validation and test.

        Raises:
            UserError: if the corpus lacks one of them.
        """
        splits: Splits = {"train": [], **{name: [] for name in HELD_OUT}}
        for pair in pairs:
            if pair.split not in splits:
                raise UserError(
                    f"{pair.place} is in no published split, and PublishedSplits makes none: "
                    f"take the Splitting of conf/data/text_files.yaml"
                )
            splits[pair.split].append(pair)
        if missing := [name for name, members in splits.items() if not members]:
            raise UserError(
                f"nothing is in the split {missing[0]}: name it in data.corpus.dataset.splits"
            )
        return splits


def unused(pairs: Sequence[Pair], splits: Splits) -> dict[str, int]:
    """How many pairs are in no split, by what left them out; what left out none is not there."""
    groups = {pair.group for name in HELD_OUT for pair in splits[name]} - {""}
    used = (pair for split in splits.values() for pair in split)
    beside = sum(p.group in groups for p in pairs) - sum(p.group in groups for p in used)
    others = len(pairs) - sum(map(len, splits.values())) - beside
    counts = {
        "beside held-out texts of their group": beside,
        "more than data.splitting.train": others,
    }
    return {reason: count for reason, count in counts.items() if count}


def _units(pairs: Sequence[Pair]) -> list[list[int]]:
    """Numbers of the pairs whose texts occur once, those of a group together."""
    sources = Counter(pair.source for pair in pairs if pair.source)
    targets = Counter(pair.target for pair in pairs)
    units: dict[str | int, list[int]] = {}
    for i, pair in enumerate(pairs):
        if sources.get(pair.source, 1) == targets[pair.target] == 1:
            units.setdefault(pair.group or i, []).append(i)
    return list(units.values())


def _take(units: Iterator[list[int]], count: int) -> list[int]:
    """The first `count` numbers out of whole units."""
    taken: list[int] = []
    while len(taken) < count and (unit := next(units, None)):
        taken += unit
    return taken[:count]


def normalise(text: str) -> str:
    """The text lower-cased, without punctuation and symbols; as it is, if it has nothing else.

    Marks stay, which write vowels and tones of many scripts.
    """
    words = _NOT_WORD.sub(_marks, text.lower()).split()
    return " ".join(words) or text.strip()


def _marks(found: re.Match[str]) -> str:
    return "".join(c if unicodedata.category(c).startswith("M") else " " for c in found[0])


def _normalised(pair: Pair) -> tuple[str | None, str]:
    """Both sides after `normalise`; None where there is no source."""
    return normalise(pair.source) if pair.source else None, normalise(pair.target)


def hygiene_report(splits: Splits, cleaned: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Counts, lengths and overlaps of the splits, as plain data.

    `near_duplicates` counts held-out pairs that meet the training split after `normalise`: on the
    source side, on the target side, and as a whole pair. A source that is not there meets none.
    `share_a_text_with_train` counts those whose source or target is one of the training split's.
    """
    train = splits["train"]
    train_pairs = {_normalised(pair) for pair in train}
    train_sources = {source for source, _ in train_pairs} - {None}
    train_targets = {target for _, target in train_pairs}
    report: dict[str, dict[str, Any]] = {"cleaning": cleaned}
    for name, pairs in splits.items():
        facts: dict[str, Any] = {
            "pairs": len(pairs),
            "source": _lengths([pair.source for pair in pairs]),
            "target": _lengths([pair.target for pair in pairs]),
        }
        if name != "train":
            both = [_normalised(pair) for pair in pairs]
            facts["near_duplicates_in_train"] = {
                "source": sum(source in train_sources for source, _ in both),
                "target": sum(target in train_targets for _, target in both),
                "pair": sum(pair in train_pairs for pair in both),
            }
            facts["share_a_text_with_train"] = len(pairs) - len(apart_from(train, pairs))
        report[name] = facts
    return report


def apart_from(train: Sequence[Pair], pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that share neither their source nor their target with a training pair."""
    sources, targets = {p.source for p in train} - {""}, {p.target for p in train}
    return [p for p in pairs if p.source not in sources and p.target not in targets]


def _lengths(texts: Sequence[str]) -> dict[str, float | int]:
    words = [len(text.split()) for text in texts]
    return {
        "words": sum(words),
        "mean_words": round(statistics.fmean(words), 2),
        "longest_words": max(words),
        "mean_characters": round(statistics.fmean(len(text) for text in texts), 2),
        "distinct_texts": len(set(texts)),
    }
