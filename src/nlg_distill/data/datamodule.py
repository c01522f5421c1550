"""Batches for Lightning."""

from collections.abc import Sequence
from functools import partial

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from nlg_distill.data.batch import Batch, Example, SpecialIds, collate
from nlg_distill.data.batching import TokenBatchSampler, budget_batches


class BatchDataset(Dataset[Batch]):
    """Lists of example numbers in, batches out."""

    def __init__(self, examples: Sequence[Example], special: SpecialIds) -> None:
        """Keeps the examples; nothing is padded yet."""
        self.examples, self.special = examples, special

    def __getitem__(self, indices: list[int]) -> Batch:
        """The batch of these examples."""
        return collate([self.examples[index] for index in indices], self.special)


def fixed_batches(
    examples: Sequence[Example],
    special: SpecialIds,
    batch_tokens: int,
    device: torch.device | None = None,
) -> list[Batch]:
    """All examples once, by length, longest first; for validation and scoring."""
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].source_ids))
    batches = budget_batches(examples, order, batch_tokens)
    made = [collate([examples[i] for i in batch], special) for batch in batches]
    return [batch.to(device) for batch in made] if device else made


class TextDataModule(L.LightningDataModule):
    """Training batches by token budget, validation batches in a fixed order.

    The sampler shards by rank itself: the trainer must have `use_distributed_sampler=False`,
    because the sampler that Lightning would put in its place shuffles whatever it is given.
    """

    def __init__(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        special: SpecialIds,
        *,
        batch_tokens: int,
        batches_per_epoch: int,
        seed: int,
    ) -> None:
        """`batch_tokens` bounds a micro-batch of one rank; an epoch ends with a validation."""
        super().__init__()
        self.train = BatchDataset(train, special)
        self.validation = fixed_batches(validation, special, batch_tokens)
        self.sampler = partial(
            TokenBatchSampler,
            train,
            batch_tokens=batch_tokens,
            length=batches_per_epoch,
            seed=seed,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """One epoch of the endless stream."""
        trainer = self.trainer
        assert trainer is not None
        sampler = self.sampler(rank=trainer.global_rank, num_ranks=trainer.world_size)
        return DataLoader(self.train, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The whole validation split, on every rank."""
        return DataLoader(self.validation, batch_size=None)  # type: ignore[arg-type]
