"""What the benchmarks share: a student with its data, a timed training, rounds that take turns.

Each measurement is a process of its own; the ways take turns. What counts is the ratio within a
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


def timed_fit(cfg, module, training, tokenizer, examples, steps, warm_up=WARM_UP):
    """Seconds that `train.py` takes for the steps behind the first `warm_up`."""
    import lightning as L
    from lightning.pytorch.loggers import CSVLogger

    from nlg_distill.callbacks import ProgressCallback, ReseedEveryEpoch, Stopwatch
    from nlg_distill.data.datamodule import TextDataModule
    from nlg_distill.loggers import quiet_libraries

    class Clock(L.Callback):
        begin = end = 0.0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == warm_up:
                self.begin = time.perf_counter()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.end = time.perf_counter()

    quiet_libraries()
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
            logger=CSVLogger(folder, name="", version="curves"),
            callbacks=[
                ReseedEveryEpoch(1),
                Stopwatch(),
                ProgressCallback(steps, "speed", "val/bleu"),
                clock,
            ],
            use_distributed_sampler=False,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data)
    return clock.end - clock.begin


def matrix_product_seconds():
    """The probe: what the machine gives just now."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(script, way, overrides):
    command = [sys.executable, script, "--measure", way, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])["milliseconds"]


def take_turns(script, ways, overrides):
    """Rounds of all ways: milliseconds a step, by way. Stops if the machine did not hold still."""
    before = matrix_product_seconds()
    times = {way: [] for way in ways}
    for number in range(ROUNDS):
        for way in ways:
            times[way].append(measure(script, way, overrides))
        found = {way: values[-1] for way, values in times.items()}
        print(f"round {number + 1}: {found} ms a step", flush=True)
    drift = abs(matrix_product_seconds() / before - 1)
    print(f"{ROUNDS} rounds; the probe moved by {drift:.0%}")
    if drift > MAX_DRIFT:
        sys.exit(f"the machine did not hold still (more than {MAX_DRIFT:.0%}): measure again")
    return times


def show_ratio(title, times, way, other):
    ratios = [a / b for a, b in zip(times[way], times[other], strict=True)]
    print(
        f"{title}: min {min(ratios):.3f}, median {statistics.median(ratios):.3f}, "
        f"max {max(ratios):.3f}"
    )


def run(script, ways, report):
    """Measures one way, as a process of its own is asked to; or all of them, and reports."""
    if sys.argv[1:2] == ["--measure"]:
        seconds = ways[sys.argv[2]](sys.argv[3:], WARM_UP + STEPS)
        print(json.dumps({"milliseconds": round(seconds / STEPS * 1e3, 1)}))
    else:
        report(take_turns(script, ways, sys.argv[1:]))
