"""What the diagnostics of a training cost: Word-KD that logs against one that does not.

The difference would be lost in the machine's own from run to run, so it logs each `OFTEN` steps,
and the report has the share of a step that this comes to at the interval that is shipped.

python benchmarks/diagnostics_cost.py [overrides as for train.py]
"""

import statistics

from hydra.utils import instantiate
from measuring import prepare, run, show_ratio, timed_fit

OFTEN = 10  # steps


def word_kd(overrides, steps):
    """A student that learns from text and from a teacher that runs beside it, both random."""
    from nlg_distill.allocator import keep_freed_memory
    from nlg_distill.losses import Objective
    from nlg_distill.modules import DistillModule, StudentModule, TeacherModule
    from nlg_distill.stages.models import build_model
    from nlg_distill.targets import Gold
    from nlg_distill.teachers.live import LiveTeacher

    keep_freed_memory()
    cfg, training, tokenizer, examples, model = prepare(["experiment=word_kd", *overrides])
    teacher = build_model(cfg.teacher_model, tokenizer.vocab_size)
    module = DistillModule(
        StudentModule(model, tokenizer.special),
        LiveTeacher(TeacherModule(teacher, tokenizer.special)),
        Gold(),
        Objective(instantiate(cfg.loss, _convert_="all")),
        optimizer=training.optimizer,
        schedule=training.schedule,
    )
    return timed_fit(cfg, module, training, tokenizer, examples, steps)


def logged(overrides, steps):
    return word_kd([*overrides, f"trainer.log_every_n_steps={OFTEN}"], steps)


def silent(overrides, steps):
    return word_kd([*overrides, f"trainer.log_every_n_steps={10 * steps}"], steps)


def report(times):
    from nlg_distill.config import compose

    show_ratio(f"time of a step, logging each {OFTEN}, to a silent one", times, "logged", "silent")
    interval = compose(["experiment=word_kd", "logger=none"]).trainer.log_every_n_steps
    ratios = [a / b for a, b in zip(times["logged"], times["silent"], strict=True)]
    shares = [(ratio - 1) * OFTEN / interval for ratio in ratios]
    print(
        f"added by logging each {interval}: min {min(shares):.1%}, "
        f"median {statistics.median(shares):.1%}, max {max(shares):.1%}"
    )


if __name__ == "__main__":
    run(__file__, {"logged": logged, "silent": silent}, report)
