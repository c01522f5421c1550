"""Speed of training as shipped against a bare loop of the same model, batches and optimizer.

python benchmarks/training_speed.py [overrides as for train.py]

Each measurement is a process of its own; the ways take turns. The bare loop runs with the
allocator as it is and with freed memory kept, as shipped does. What counts is the ratio within a
round, not the milliseconds: they belong to one machine. The matrix product before and after tells
whether the machine held still.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from hydra.utils import instantiate
from torch import nn

ROUNDS, WARM_UP, STEPS = 10, 20, 100
MAX_DRIFT = 0.15


def prepare(overrides):
    """Model, optimizer and data of the demo's baseline student, from the store."""
    import lightning as L

    from nlg_distill.config import compose
    from nlg_distill.session import Session
    from nlg_distill.stages.corpus import load_split
    from nlg_distill.stages.models import build_model
    from nlg_distill.stages.plan import plan
    from nlg_distill.stages.tokenizer import load_tokenizer
    from nlg_distill.stages.training import encode_pairs
    from nlg_distill.store import Store

    cfg = compose(["logger=csv", *overrides])
    stages = plan(cfg)
    store = Store(Path(cfg.paths.artifacts))
    session = Session(Path(cfg.paths.downloads), {}, lambda key: None)
    tokenizer = load_tokenizer(store.get(stages.tokenizer, session))
    training = instantiate(cfg.student_training, _convert_="all")
    torch.set_num_threads(training.threads)
    L.seed_everything(cfg.seed, verbose=False)
    pairs = load_split(store.path(stages.corpus), "train")
    examples = [e for e in encode_pairs(pairs, tokenizer) if len(e.source_ids) < 80]
    model = build_model(cfg.student_model, tokenizer.vocab_size)
    return cfg, training, tokenizer, examples, model


def bare(overrides, steps):
    """Plain PyTorch: what a researcher would write without a framework."""
    from nlg_distill.data.batching import TokenBatchSampler
    from nlg_distill.data.datamodule import BatchDataset
    from nlg_distill.losses import nll

    _, training, tokenizer, examples, model = prepare(overrides)
    optimizer = training.optimizer(model.parameters())
    schedule = training.schedule(optimizer)
    sampler = TokenBatchSampler(examples, batch_tokens=training.batch_tokens, length=steps, seed=1)
    dataset = BatchDataset(examples, tokenizer.special)
    for number, indices in enumerate(sampler):
        if number == WARM_UP:
            begin = time.perf_counter()
        batch = dataset[indices]
        with torch.autocast("cpu", torch.bfloat16):
            loss = nll(model(batch).logits, batch.labels).sum() / batch.num_target_tokens
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_val)
        optimizer.step()
        schedule.step()
    return model, time.perf_counter() - begin


def bare_kept(overrides, steps):
    """The same with the allocator that shipped training uses."""
    from nlg_distill.allocator import keep_freed_memory

    keep_freed_memory()
    return bare(overrides, steps)


def shipped(overrides, steps):
    """What `train.py` runs: the modules, the data module and callbacks, logging to a file."""
    import lightning as L

    from nlg_distill.allocator import keep_freed_memory
    from nlg_distill.callbacks import ProgressCallback, ReseedEveryEpoch, Stopwatch
    from nlg_distill.data.datamodule import TextDataModule
    from nlg_distill.loggers import csv_logger, quiet_libraries
    from nlg_distill.losses import LabelTerm, Objective, nll
    from nlg_distill.modules import DistillModule, StudentModule
    from nlg_distill.targets import Gold

    class Clock(L.Callback):
        begin = end = 0.0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == WARM_UP:
                self.begin = time.perf_counter()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.end = time.perf_counter()

    quiet_libraries()
    keep_freed_memory()
    cfg, training, tokenizer, examples, model = prepare(overrides)
    module = DistillModule(
        StudentModule(model, tokenizer.special),
        None,
        Gold(),
        Objective({"nll": LabelTerm(loss=nll)}),
        optimizer=training.optimizer,
        schedule=training.schedule,
    )
    data = TextDataModule(
        examples,
        examples[:1],
        tokenizer.special,
        batch_tokens=training.batch_tokens,
        batches_per_epoch=steps,
        seed=1,
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = instantiate(
            cfg.trainer,
            max_epochs=1,
            gradient_clip_val=training.gradient_clip_val,
            logger=csv_logger(folder=Path(folder), name="speed", config={}),
            callbacks=[ReseedEveryEpoch(1), Stopwatch(), ProgressCallback(steps, "speed"), clock],
            use_distributed_sampler=False,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data)
    return model, clock.end - clock.begin


WAYS = {"bare": bare, "bare_kept": bare_kept, "shipped": shipped}


def matrix_product_seconds():
    """The probe: what the machine gives just now."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(way, overrides):
    command = [sys.executable, __file__, "--measure", way, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])["milliseconds"]


def assert_same_training(overrides):
    """Five steps either way end in the same parameters, to the precision of bfloat16."""
    globals()["WARM_UP"] = 0
    overrides = [*overrides, "student_model.dropout=0.0"]
    first, _ = bare(overrides, 5)
    second, _ = shipped(overrides, 5)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)


def main(overrides):
    assert_same_training(overrides)
    before = matrix_product_seconds()
    ratios = {"bare": [], "bare_kept": []}
    for number in range(ROUNDS):
        times = {way: measure(way, overrides) for way in WAYS}
        print(f"round {number + 1}: {times} ms a step", flush=True)
        for way, values in ratios.items():
            values.append(times[way] / times["shipped"])
    drift = abs(matrix_product_seconds() / before - 1)
    for way, values in ratios.items():
        print(
            f"speed of shipped relative to {way}: min {min(values):.3f}, "
            f"median {statistics.median(values):.3f}, max {max(values):.3f}"
        )
    print(f"{ROUNDS} rounds; the probe moved by {drift:.0%}")
    if drift > MAX_DRIFT:
        sys.exit(f"the machine did not hold still (more than {MAX_DRIFT:.0%}): measure again")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        _, seconds = WAYS[sys.argv[2]](sys.argv[3:], WARM_UP + STEPS)
        print(json.dumps({"milliseconds": round(seconds / STEPS * 1e3, 1)}))
    else:
        main(sys.argv[1:])
