"""The stages that one config needs, and what each depends on. Nothing is made here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from nlg_distill.data.tokenizer import Shared
from nlg_distill.errors import UserError
from nlg_distill.stages.black_box_plan import scores_stage, texts_stage
from nlg_distill.stages.earlier import earlier, shared_with_earlier
from nlg_distill.stages.models import concrete
from nlg_distill.stages.sources import LIVE, teacher_role
from nlg_distill.stages.text_plan import (
    as_dict,
    class_of,
    corpus_stage,
    for_teacher,
    further_tests_stage,
    tokenizer_stage,
    with_content,
)
from nlg_distill.store import Stage
from nlg_distill.tasks import TRANSLATION, Task
from nlg_distill.teachers.preflight import refuse_across_tokenizers, refuse_impossible


@dataclass(frozen=True)
class Plan:
    """The stages of one run; `scores` is its result.

    `subject` is the model that it trains; of a black box, its texts of the test split.
    """

    corpus: Stage
    tokenizer: Stage
    subject: Stage
    scores: Stage
    further_tests: Stage | None = None


def plan(cfg: DictConfig, overrides: Sequence[str] = ()) -> Plan:
    """The stages of `cfg`; `overrides` are what the user gave, for experiments that it names."""
    corpus = corpus_stage(cfg)
    text = {"corpus": corpus, "tokenizer": tokenizer_stage(as_dict(cfg.data)["tokenizer"], corpus)}
    if cfg.stage == "teacher" and (black_box := _black_box(cfg)):
        if cfg.data.get("further_tests"):
            raise UserError("a black box is scored on no data.further_tests: leave them out")
        if cfg.scoring.draws:
            raise UserError("a black box is asked for no other texts: leave scoring.draws out")
        scored = scores_stage(black_box, {**as_dict(cfg, "scoring"), **_task(cfg)}, corpus)
        return Plan(corpus, text["tokenizer"], scored.parents["teacher_text"], scored)
    if cfg.stage == "teacher":
        text = for_teacher(cfg, text)
    subject = _teacher(cfg, text) if cfg.stage == "teacher" else _student(cfg, text, overrides)
    compared = _teachers(cfg, text) if _needs_teacher(cfg) else {}
    further = further_tests_stage(cfg, corpus)
    scores = Stage(
        name="scores",
        version=1,
        config={
            **as_dict(cfg, "scoring"),
            "precision": cfg.trainer.precision,
            **(_together(cfg) if compared else {}),
            **_task(cfg),
            **({"further_tests": list(cfg.data.further_tests)} if further else {}),
        },
        builder="nlg_distill.stages.scores.build",
        parents={**text, "model": subject, **compared, **further},
    )
    return Plan(corpus, text["tokenizer"], subject, scores, further.get("further_tests"))


def _task(cfg: DictConfig) -> dict[str, Any]:
    """The task; nothing where it is left as it is without settings, which is translation."""
    task = as_dict(cfg.task)
    return {"task": task} if task != TRANSLATION else {}


def _watched(cfg: DictConfig) -> dict[str, Any]:
    """What of the task a training depends on: of its metrics, the one that picks the weights."""
    chosen = _task(cfg)
    task = chosen.get("task", {})
    if "metrics" in task:
        monitor = task.get("monitor", Task.monitor)
        kept = {name: m for name, m in task["metrics"].items() if f"val/{name}" == monitor}
        task["metrics"] = kept
    return chosen


def _teacher(cfg: DictConfig, text: dict[str, Stage], seed: int | None = None) -> Stage:
    return Stage(
        name="teacher",
        version=1,
        config=with_content(
            {
                "model": concrete(as_dict(cfg)["teacher_model"]),
                "training": as_dict(cfg)["teacher_training"],
                "loss": as_dict(cfg)["teacher_loss"],
                "seed": cfg.teacher_seed if seed is None else seed,
                **_watched(cfg),
                **_trainer(cfg),
            },
            "model",
        ),
        builder="nlg_distill.stages.training.build_teacher",
        parents=for_teacher(cfg, text),
    )


def _model_source(cfg: DictConfig) -> dict[str, Any]:
    """Config of the source that runs models, also behind a cache or a text alone."""
    teacher: dict[str, Any] = as_dict(cfg)["teacher"]
    inner: dict[str, Any] = teacher.get("source", teacher)
    return inner if get_class(inner["_target_"]).needs_model else LIVE  # type: ignore[attr-defined]


def _teachers(cfg: DictConfig, text: dict[str, Stage]) -> dict[str, Stage]:
    """The one teacher, or one for each of the source's seeds, by role."""
    seeds = _model_source(cfg).get("seeds", [cfg.teacher_seed])
    return {teacher_role(i): _teacher(cfg, text, seed) for i, seed in enumerate(seeds)}


def _together(cfg: DictConfig) -> dict[str, Any]:
    """How several teachers are one; nothing where there is one."""
    source = _model_source(cfg)
    return {"teacher": source} if "seeds" in source else {}


def _teacher_text(cfg: DictConfig, text: dict[str, Stage]) -> Stage:
    writing = _writing(cfg)
    assert writing is not None
    writer: Any = get_class(writing["_target_"])
    if not writer.needs_model:
        return texts_stage(writing, text["corpus"], "train")
    return Stage(
        name="teacher_text",
        version=2,
        config={
            "writing": writing,
            **({"seed": cfg.teacher_seed} if writer.draws else {}),
            "threads": cfg.teacher_training.threads,
            "precision": cfg.trainer.precision,
            **_together(cfg),
        },
        builder="nlg_distill.stages.teacher_text.build",
        parents={**for_teacher(cfg, text), **_teachers(cfg, text)},
    )


def _teacher_signal(cfg: DictConfig, parents: dict[str, Stage], text: dict[str, Stage]) -> Stage:
    """What is stored of the text in `parents`, which the policy makes."""
    return Stage(
        name="teacher_signal",
        version=2,
        config={
            **{key: value for key, value in as_dict(cfg.teacher).items() if key[0] != "_"},
            **as_dict(cfg, "targets"),
            "threads": cfg.teacher_training.threads,
            "precision": cfg.trainer.precision,
        },
        builder="nlg_distill.stages.teacher_signal.build",
        parents={**parents, **_teachers(cfg, text)},
    )


def _student(cfg: DictConfig, text: dict[str, Stage], overrides: Sequence[str]) -> Stage:
    plain = as_dict(cfg)
    refuse_impossible(plain["teacher"], plain["targets"], plain["loss"])
    if class_of(cfg.teacher_tokenizer) is not Shared:
        refuse_across_tokenizers(plain["targets"], plain["loss"], plain["init"])
    parents = dict(text)
    needs: dict[str, Any] = {}
    if _writing(cfg) is not None:
        parents["teacher_text"] = _teacher_text(cfg, text)
    if _training_needs_teacher(cfg):
        needs["teacher"] = plain["teacher"]
        if class_of(cfg.teacher).needs_model:
            parents |= _teachers(cfg, text)
        else:
            parents["teacher_signal"] = signal = _teacher_signal(cfg, dict(parents), text)
            needs["teacher_signal"] = signal.origin
    if class_of(cfg.init).needs_teacher:
        parents["init_teacher"] = _teacher(cfg, text)
    if "experiment" in cfg.init:
        parents["init"] = _student(earlier(cfg, overrides), text, shared_with_earlier(overrides))
    return Stage(
        name="student",
        version=2,
        config=with_content(
            {
                "model": concrete(plain["student_model"]),
                "training": plain["student_training"],
                "init": plain["init"],
                "targets": plain["targets"],
                "loss": plain["loss"],
                "seed": cfg.seed,
                **needs,
                **_watched(cfg),
                **_trainer(cfg),
            },
            "model",
        ),
        builder="nlg_distill.stages.training.build_student",
        parents=parents,
    )


def _writing(cfg: DictConfig) -> dict[str, Any] | None:
    """How the training text is written beforehand, wherever in the policy it is said."""
    nodes = [as_dict(cfg)["targets"]]
    for node in nodes:
        if "writing" in node:
            writing: dict[str, Any] = node["writing"]
            return writing
        nodes += [value for value in node.values() if isinstance(value, dict)]
    return None


def _black_box(cfg: DictConfig) -> dict[str, Any] | None:
    """How a black box writes, if one does."""
    writing = _writing(cfg)
    kind: Any = None if writing is None else get_class(writing["_target_"])
    return None if kind is None or kind.needs_model else writing


def _needs_teacher(cfg: DictConfig) -> bool:
    if cfg.stage == "teacher":
        return False
    by_teacher = _writing(cfg) is not None and _black_box(cfg) is None
    return by_teacher or _training_needs_teacher(cfg)


def _training_needs_teacher(cfg: DictConfig) -> bool:
    if class_of(cfg.targets).needs_live_teacher:
        return True
    return any(class_of(term).asks for term in cfg.loss.values())


def _trainer(cfg: DictConfig) -> dict[str, Any]:
    """What of the trainer changes a result; where it runs and what it prints do not."""
    return {"trainer": as_dict(cfg.trainer, "precision", "devices")}
