"""The student's text, drawn rarely and used often.

Ko et al., "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
https://arxiv.org/abs/2402.03898: the share of batches with the student's text rises
when the validation loss does (adaptive), and a growing part of those comes out of a buffer of
earlier texts (off-policy). Deviations: the buffer holds one text per source, the last one, so that
its size is bounded by the corpus. Each validation is compared with the one before, so that the
share can rise from the second on; the authors' code measures the loss once before the training too,
and compares with that of the last rise.
"""

from typing import Any

import torch
from torch import distributed

from nlg_distill.data.batch import Author, Batch, with_targets
from nlg_distill.errors import UserError
from nlg_distill.targets.policy import OnlinePolicy, Sampling, Writers

Texts = dict[int, tuple[list[int], bool]]
"""Token ids by example, and whether the text ended before its length limit."""


class AdaptiveReplay(OnlinePolicy):
    """Gold text at first, the student's more and more, new or replayed."""

    beside = frozenset({Author.STUDENT})

    def __init__(self, *, sampling: Sampling, step: float, tolerance: float) -> None:
        """Starts with gold text alone and an empty buffer.

        Args:
            sampling: how the student draws.
            step: what is added to the share of the student's text, in (0, 1].
            tolerance: rise of the validation loss, in nats, that counts as one.

        Raises:
            UserError: if `step` is outside its range or `tolerance` negative.
        """
        super().__init__(sampling=sampling)
        if not 0 < step <= 1:
            raise UserError(f"step must be in (0, 1], got {step}")
        if tolerance < 0:
            raise UserError(f"tolerance must not be negative, got {tolerance}")
        self.step, self.tolerance = step, tolerance
        self.share = 0.0
        self.last_nll = float("inf")
        self.texts: Texts = {}
        self.drawn: Texts = {}  # since the last validation, in this process

    def forward(self, batch: Batch, writers: Writers, progress: float) -> Batch:
        """The batch with gold text, new text or text from the buffer."""
        own, new = torch.rand(2).tolist()
        if own >= self.share:
            return batch
        numbers = batch.example_ids.tolist()
        if new < 1 - progress or any(number not in self.texts for number in numbers):
            found = self.sampling.write(writers.student, batch, writers.special)
            texts = ((hypotheses[0].token_ids, hypotheses[0].ended) for hypotheses in found)
            drawn = dict(zip(numbers, texts, strict=True))
            self.texts |= drawn
            self.drawn |= drawn
        known, ended = zip(*(self.texts[number] for number in numbers), strict=True)
        return with_targets(batch, known, writers.special, Author.STUDENT, ended=ended)

    def after_validation(self, nll: float) -> None:
        """Raises the share where the loss on gold text rose; all processes exchange texts."""
        if nll > self.last_nll + self.tolerance:
            self.share = min(1.0, self.share + self.step)
        self.last_nll = nll
        if distributed.is_available() and distributed.is_initialized():
            everyones: list[Texts] = [{}] * distributed.get_world_size()
            distributed.all_gather_object(everyones, self.drawn)
            for drawn in everyones:
                self.texts |= drawn
        self.drawn = {}

    def on_policy_share(self, progress: float) -> float:
        """The share as the last validation left it."""
        return self.share

    def get_extra_state(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {"share": self.share, "last_nll": self.last_nll, "texts": self.texts}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Goes on where it stopped."""
        self.share, self.last_nll, self.texts = state["share"], state["last_nll"], state["texts"]
