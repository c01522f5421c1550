"""Small real things that many tests share."""

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nlg_distill.data.batch import Example, SpecialIds
from nlg_distill.models import LSTMEncoderDecoder
from nlg_distill.precision import cpu_precision

SPECIAL = SpecialIds(pad=0, begin=1, end=2)
torch.set_num_threads(1)  # toy models are slower on several, much slower beside other work
os.environ["OMP_NUM_THREADS"] = "1"  # the same in programs that tests start


def pytest_collection_modifyitems(items):
    """Files with the most slow tests first: what is begun last runs beside nothing."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


OTHER_PRECISION = "32-true" if cpu_precision() == "bf16-mixed" else "bf16-mixed"
needs_bfloat16 = pytest.mark.skipif(
    OTHER_PRECISION == "bf16-mixed", reason="this CPU has no instructions for bfloat16"
)


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


def _structures():
    """One small model of each structure under conf/model, by the name of its first file."""
    sizes = {"embedding_size": 6, "hidden_size": 8, "num_heads": 2, "feed_forward_size": 12}
    others = {"dropout": 0.0, "embedding_std": 0.4}
    found = {}
    for path in sorted((Path(__file__).parents[1] / "conf" / "model").glob("*.yaml")):
        full = OmegaConf.to_container(OmegaConf.load(path))
        if "num_layers" not in full:
            continue  # a checkpoint's structure, or that of another model
        small = {key: (sizes | others).get(key, value) for key, value in full.items()}
        small["num_layers"] = min(2, full["num_layers"])
        if small not in found.values():
            found[path.stem] = small
    return found | {"gpt_learned_positions": found["gpt_small"] | {"max_positions": 64}}


STRUCTURES = _structures()
_first = {settings["_target_"]: name for name, settings in reversed(STRUCTURES.items())}
FAMILIES = sorted(_first.values())  # one structure of each class
assert len(FAMILIES) >= 2, STRUCTURES


def toy_structure(name, vocab_size=7, **changes):
    return instantiate(STRUCTURES[name] | changes, vocab_size=vocab_size)


def terms_of(module, batch):
    """Each term of a module's objective, weighted and summed over target tokens, in nats."""
    return module.objective(module.model(batch), module.teacher_signal(batch), batch)


def toy_examples(count, vocab_size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def ids(longest):
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(3, vocab_size, (length,), generator=generator).tolist()

    return [Example(i, ids(6), ids(7)) for i in range(count)]
