"""Speed of training as shipped against a bare loop of the same model, batches and optimizer.

python benchmarks/training_speed.py [overrides as for train.py]

The bare loop runs with the allocator as it is and with freed memory kept, as shipped does.
"""

import sys
import time

import torch
from measuring import WARM_UP, prepare, run, show_ratio, timed_fit
from torch import nn


def bare_training(overrides, steps, warm_up=WARM_UP):
    """Plain PyTorch: what a researcher would write without a framework."""
    from nlg_distill.data.batching import TokenBatchSampler
    from nlg_distill.data.datamodule import BatchDataset
    from nlg_distill.losses import nll
    from nlg_distill.modules.optimizers import parameter_groups
    from nlg_distill.precision import autocast, cpu_precision

    _, training, tokenizer, examples, model = prepare(overrides)
    optimizer = training.optimizer(parameter_groups(model.parameters(), model))
    schedule = training.schedule(optimizer)
    sampler = TokenBatchSampler(examples, batch_tokens=training.batch_tokens, length=steps, seed=1)
    dataset = BatchDataset(examples, tokenizer.special)
    for number, indices in enumerate(sampler):
        if number == warm_up:
            begin = time.perf_counter()
        batch = dataset[indices]
        with autocast(cpu_precision(), torch.device("cpu")):
            loss = nll(model(batch).logits, batch.labels).sum() / batch.num_target_tokens
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_val)
        optimizer.step()
        schedule.step()
    return model, time.perf_counter() - begin


def shipped_training(overrides, steps, warm_up=WARM_UP):
    """What `train.py` runs: the modules, the data module and callbacks, logging to a file."""
    from nlg_distill.allocator import keep_freed_memory
    from nlg_distill.losses import LabelTerm, Objective, nll
    from nlg_distill.modules import DistillModule, StudentModule
    from nlg_distill.targets import Gold

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
    return model, timed_fit(cfg, module, training, tokenizer, examples, steps, warm_up)


def bare(overrides, steps):
    return bare_training(overrides, steps)[1]


def bare_kept(overrides, steps):
    """The same with the allocator that shipped training uses."""
    from nlg_distill.allocator import keep_freed_memory

    keep_freed_memory()
    return bare(overrides, steps)


def shipped(overrides, steps):
    return shipped_training(overrides, steps)[1]


def assert_same_training(overrides):
    """Five steps either way end in the same parameters, to the precision of bfloat16."""
    overrides = [*overrides, "student_model.dropout=0.0"]
    first, _ = bare_training(overrides, 5, warm_up=0)
    second, _ = shipped_training(overrides, 5, warm_up=0)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)


def report(times):
    for way in ("bare", "bare_kept"):
        show_ratio(f"speed of shipped relative to {way}", times, way, "shipped")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--measure"]:
        assert_same_training(sys.argv[1:])
    run(__file__, {"bare": bare, "bare_kept": bare_kept, "shipped": shipped}, report)
