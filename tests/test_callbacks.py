"""What watches a training, without one."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model

from nlg_distill.callbacks import ReseedEveryEpoch, Stopwatch, TextsOnValidation
from nlg_distill.data.batch import Example, collate
from nlg_distill.data.corpus import Pair
from nlg_distill.data.tokenizer import SentencePieceTokenizer
from nlg_distill.decoding import Hypothesis
from nlg_distill.modules import StudentModule
from nlg_distill.text_metrics import bleu


class Numbers(SentencePieceTokenizer):
    def __init__(self):
        pass

    def decode(self, ids):
        return [" ".join(map(str, sequence)) for sequence in ids]


@pytest.fixture
def trainer():
    return L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, log_every_n_steps=2
    )


@pytest.fixture
def module(monkeypatch):
    module = StudentModule(toy_model(), SPECIAL)
    module.logged = {}
    monkeypatch.setattr(
        module, "log", lambda name, value, **settings: module.logged.update({name: value})
    )
    return module


@pytest.fixture
def batch():
    return collate(toy_examples(8), SPECIAL)


def test_validation_scores_are_of_each_text_with_its_own_reference_and_source(trainer, module):
    references = ["1 2 3 4 5 6", "7 8 9 10 11 12"]
    pairs = [Pair("one", references[0]), Pair("seven", references[1])]

    def copies(texts, gold, sources):
        return float(("1 2 3 4 5", "one") in zip(texts, sources, strict=True))

    watcher = TextsOnValidation(Numbers(), pairs, {"bleu": bleu, "copies": copies})
    batch = collate([Example(1, [3], [3]), Example(0, [3], [3])], SPECIAL)
    found = [
        Hypothesis([7, 8, 9, 10, 11], -1.0, -1.0, ended=True),
        Hypothesis([1, 2, 3, 4, 5], -1.0, -1.0, ended=True),
    ]
    watcher.on_validation_batch_end(trainer, module, {"hypotheses": found}, batch, 0)
    watcher.on_validation_epoch_end(trainer, module)
    expected = bleu(["1 2 3 4 5", "7 8 9 10 11"], references, ["one", "seven"])
    assert 0 < expected < 100
    assert module.logged["val/bleu"] == pytest.approx(expected)
    assert module.logged["val/copies"] == 1.0
    assert module.logged["val/length_ratio"] == pytest.approx(10 / 12)


def test_each_epoch_of_each_seed_draws_its_own_numbers(trainer, module, batch):
    def draw(seed, epoch, batch_idx=0):
        trainer.fit_loop.epoch_progress.current.completed = epoch
        ReseedEveryEpoch(seed).on_train_batch_start(trainer, module, batch, batch_idx)
        return torch.rand(1).item()

    assert draw(1, 0) == draw(1, 0)
    assert len({draw(1, 0), draw(1, 1), draw(2, 0), draw(2, 0, batch_idx=1)}) == 4


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=10.0)
    fake = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("nlg_distill.callbacks.time", fake)
    return clock


def test_seconds_of_all_attempts_are_added(trainer, module, clock):
    watch = Stopwatch()
    watch.load_state_dict({"seconds": 5.0})
    watch.on_train_start(trainer, module)
    clock.now = 13.0
    assert watch.state_dict() == {"seconds": 8.0}
    clock.now = 14.0
    watch.on_train_end(trainer, module)
    assert watch.seconds == 9.0


def test_speed_is_of_all_batches_since_the_last(trainer, module, batch, clock):
    watch, tokens = Stopwatch(), 23
    watch.on_train_start(trainer, module)
    for batch_idx, now in enumerate([11.0, 14.0, 15.0, 16.0]):
        clock.now = now
        module.tokens_trained_on += tokens
        watch.on_train_batch_end(trainer, module, None, batch, batch_idx)
        if batch_idx == 1:
            slow = module.logged["train/tokens_per_second"]
    assert slow == pytest.approx(2 * tokens / 4)
    assert module.logged["train/tokens_per_second"] == pytest.approx(2 * tokens / 2)
