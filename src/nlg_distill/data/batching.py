"""Which examples share a batch: token budget, length buckets, seeded shuffling."""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from nlg_distill.data.batch import Example
from nlg_distill.errors import UserError


def budget_batches(
    examples: Sequence[Example], order: Sequence[int], batch_tokens: int
) -> list[list[int]]:
    """Consecutive examples of `order`, cut so that a batch holds at most `batch_tokens`.

    A batch's size is its number of examples times its longest side, end token included.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, _length(examples[index]))
        if batch and longest * (len(batch) + 1) > batch_tokens:
            batches.append(batch)
            batch, longest = [], _length(examples[index])
        batch.append(index)
    return [*batches, batch] if batch else batches


class TokenBatchSampler(Sampler[list[int]]):
    """An endless stream of training batches, handed out `length` at a time.

    Each pass over the data shuffles, sorts by length (ties keep the shuffle), cuts by the token
    budget and shuffles the batches, all from `seed`. Batch `i` of the stream belongs to rank
    `i % num_ranks`. One call of `iter` gives the stretch that `set_epoch` names, so a training
    that starts again at an epoch sees the batches that it would have seen.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_tokens: int,
        length: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """`length` counts the batches of one rank in one epoch.

        Raises:
            UserError: if an example alone exceeds `batch_tokens`.
        """
        longest = max(examples, key=_length)
        if _length(longest) > batch_tokens:
            raise UserError(
                f"example {longest.example_id} has {_length(longest)} tokens, more than "
                f"batch_tokens={batch_tokens}: raise batch_tokens, or lower "
                f"data.cleaning.max_words with data.cleaning.drop_bad_lines=true"
            )
        self.examples, self.batch_tokens = examples, batch_tokens
        self.length, self.seed, self.rank, self.num_ranks = length, seed, rank, num_ranks
        self.epoch = 0
        self._pass = -1
        self._batches: list[list[int]] = []
        self._begin = 0  # where the current pass begins in the stream

    def set_epoch(self, epoch: int) -> None:
        """Which stretch of the stream comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of one rank in one epoch."""
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this rank in this epoch."""
        for number in range(self.epoch * self.length, (self.epoch + 1) * self.length):
            yield self._batch(number * self.num_ranks + self.rank)

    def _batch(self, position: int) -> list[int]:
        if position < self._begin:
            self._pass, self._begin, self._batches = -1, 0, []
        while position >= self._begin + len(self._batches):
            self._begin += len(self._batches)
            self._pass += 1
            self._batches = self._shuffled_batches(self._pass)
        return self._batches[position - self._begin]

    def _shuffled_batches(self, number: int) -> list[list[int]]:
        generator = random.Random(f"{self.seed} {number}")
        order = list(range(len(self.examples)))
        generator.shuffle(order)
        order.sort(key=lambda index: _lengths(self.examples[index]))
        batches = budget_batches(self.examples, order, self.batch_tokens)
        generator.shuffle(batches)
        return batches


def _length(example: Example) -> int:
    return max(_lengths(example))


def _lengths(example: Example) -> tuple[int, int]:
    return len(example.source_ids) + 1, len(example.target_ids) + 1
