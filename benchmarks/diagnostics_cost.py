"""What the diagnostics of a training cost: Word-KD as shipped against one that logs nothing.

python benchmarks/diagnostics_cost.py [overrides as for train.py]
"""

from hydra.utils import instantiate
from measuring import prepare, run, show_ratio, timed_fit


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
    return word_kd(overrides, steps)


def silent(overrides, steps):
    return word_kd([*overrides, f"trainer.log_every_n_steps={10 * steps}"], steps)


def report(times):
    show_ratio("time of a step with diagnostics relative to one without", times, "logged", "silent")


if __name__ == "__main__":
    run(__file__, {"logged": logged, "silent": silent}, report)
