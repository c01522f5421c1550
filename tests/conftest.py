"""Small real things that many tests share."""

import pytest
import torch

from nlg_distill.data.batch import Example, SpecialIds
from nlg_distill.models import LSTMEncoderDecoder

SPECIAL = SpecialIds(pad=0, begin=1, end=2)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def special():
    return SPECIAL


def toy_model(vocab_size=7, hidden_size=6, **changes):
    settings = dict(
        embedding_size=6,
        hidden_size=hidden_size,
        num_layers=2,
        dropout=0.0,
        bidirectional=True,
        tie_embeddings=False,
        embedding_std=0.4,
    )
    return LSTMEncoderDecoder(vocab_size, **(settings | changes))


def terms_of(module, batch):
    """Each term of a module's objective, weighted and summed over target tokens, in nats."""
    return module.objective(module.model(batch), module.teacher_signal(batch), batch)


def toy_examples(count, vocab_size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def ids(longest):
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(3, vocab_size, (length,), generator=generator).tolist()

    return [Example(i, ids(6), ids(7)) for i in range(count)]
