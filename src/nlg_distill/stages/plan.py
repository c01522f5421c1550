"""The stages that one config needs, and what each depends on. Nothing is made here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from nlg_distill.data.corpus import OfFiles
from nlg_distill.data.tokenizer import Shared
from nlg_distill.errors import UserError
from nlg_distill.stages.black_box_plan import scores_stage, texts_stage
from nlg_distill.stages.earlier import earlier, shared_with_earlier
from nlg_distill.stages.models import concrete
from nlg_distill.stages.sources import LIVE, teacher_role
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
    corpus = Stage(
        name="corpus",
        version=2,
        config=_corpus(cfg),
        builder="nlg_distill.stages.corpus.build",
    )
    text = {"corpus": corpus, "tokenizer": _tokenizer(_plain(cfg.data)["tokenizer"], corpus)}
    if cfg.stage == "teacher" and (black_box := _black_box(cfg)):
        if "further_tests" in cfg.data:
            raise UserError("a black box is scored on no data.further_tests: leave them out")
        scored = scores_stage(black_box, {**_plain(cfg, "scoring"), **_task(cfg)}, corpus)
        return Plan(corpus, text["tokenizer"], scored.parents["teacher_text"], scored)
    if cfg.stage == "teacher":
        text = _for_teacher(cfg, text)
    subject = _teacher(cfg, text) if cfg.stage == "teacher" else _student(cfg, text, overrides)
    compared = _teachers(cfg, text) if _needs_teacher(cfg) else {}
    further = _further_tests(cfg, corpus)
    scores = Stage(
        name="scores",
        version=1,
        config={
            **_plain(cfg, "scoring"),
            "precision": cfg.trainer.precision,
            **(_together(cfg) if compared else {}),
            **_task(cfg),
            **({"further_tests": list(cfg.data.further_tests)} if further else {}),
        },
        builder="nlg_distill.stages.scores.build",
        parents={**text, "model": subject, **compared, **further},
    )
    return Plan(corpus, text["tokenizer"], subject, scores, further.get("further_tests"))


def _corpus(cfg: DictConfig) -> dict[str, Any]:
    config = _plain(cfg.data, "corpus", "cleaning", "splitting")
    of_files = issubclass(_class(cfg.data.corpus), OfFiles)
    return _with_content(config, "corpus") if of_files else config


def _tokenizer(settings: dict[str, Any], corpus: Stage) -> Stage:
    return Stage(
        name="tokenizer",
        version=1,
        config=_with_content({"tokenizer": settings}, "tokenizer"),
        builder="nlg_distill.stages.tokenizer.build",
        parents={"corpus": corpus},
    )


def _for_teacher(cfg: DictConfig, text: dict[str, Stage]) -> dict[str, Stage]:
    """What a teacher reads: the student's text, with a tokenizer of its own if it has one."""
    if _class(cfg.teacher_tokenizer) is Shared:
        return text
    return {**text, "tokenizer": _tokenizer(_plain(cfg)["teacher_tokenizer"], text["corpus"])}


def _further_tests(cfg: DictConfig, corpus: Stage) -> dict[str, Stage]:
    """The stage of the further test sets, by its role; nothing where there are none.

    No model depends on it: one that is trained is scored on a new test set as it is.
    """
    if not cfg.data.get("further_tests"):
        return {}
    if wrong := [name for name in cfg.data.further_tests if not str(name).isidentifier()]:
        raise UserError(
            f"data.further_tests.{wrong[0]}: a test set's name is of letters, digits and _"
        )
    stage = Stage(
        name="further_tests",
        version=1,
        config=_plain(cfg.data, "further_tests", "cleaning"),
        builder="nlg_distill.stages.further_tests.build",
        parents={"corpus": corpus},
    )
    return {"further_tests": stage}


def _task(cfg: DictConfig) -> dict[str, Any]:
    """The task; nothing where it is left as it is without settings, which is translation."""
    task = _plain(cfg.task)
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
        config=_with_content(
            {
                "model": concrete(_plain(cfg)["teacher_model"]),
                "training": _plain(cfg)["teacher_training"],
                "loss": _plain(cfg)["teacher_loss"],
                "seed": cfg.teacher_seed if seed is None else seed,
                **_watched(cfg),
                **_trainer(cfg),
            },
            "model",
        ),
        builder="nlg_distill.stages.training.build_teacher",
        parents=_for_teacher(cfg, text),
    )


def _model_source(cfg: DictConfig) -> dict[str, Any]:
    """Config of the source that runs models, also behind a cache or a text alone."""
    teacher: dict[str, Any] = _plain(cfg)["teacher"]
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
        parents={**_for_teacher(cfg, text), **_teachers(cfg, text)},
    )


def _teacher_signal(cfg: DictConfig, parents: dict[str, Stage], text: dict[str, Stage]) -> Stage:
    """What is stored of the text in `parents`, which the policy makes."""
    return Stage(
        name="teacher_signal",
        version=2,
        config={
            **{key: value for key, value in _plain(cfg.teacher).items() if key[0] != "_"},
            **_plain(cfg, "targets"),
            "threads": cfg.teacher_training.threads,
            "precision": cfg.trainer.precision,
        },
        builder="nlg_distill.stages.teacher_signal.build",
        parents={**parents, **_teachers(cfg, text)},
    )


def _student(cfg: DictConfig, text: dict[str, Stage], overrides: Sequence[str]) -> Stage:
    plain = _plain(cfg)
    refuse_impossible(plain["teacher"], plain["targets"], plain["loss"])
    if _class(cfg.teacher_tokenizer) is not Shared:
        refuse_across_tokenizers(plain["targets"], plain["loss"], plain["init"])
    parents = dict(text)
    needs: dict[str, Any] = {}
    if _writing(cfg) is not None:
        parents["teacher_text"] = _teacher_text(cfg, text)
    if _training_needs_teacher(cfg):
        needs["teacher"] = plain["teacher"]
        if _class(cfg.teacher).needs_model:
            parents |= _teachers(cfg, text)
        else:
            parents["teacher_signal"] = signal = _teacher_signal(cfg, dict(parents), text)
            needs["teacher_signal"] = signal.origin
    if _class(cfg.init).needs_teacher:
        parents["init_teacher"] = _teacher(cfg, text)
    if "experiment" in cfg.init:
        parents["init"] = _student(earlier(cfg, overrides), text, shared_with_earlier(overrides))
    return Stage(
        name="student",
        version=2,
        config=_with_content(
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
    nodes = [_plain(cfg)["targets"]]
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
    if _class(cfg.targets).needs_live_teacher:
        return True
    return any(_class(term).asks for term in cfg.loss.values())


def _class(node: DictConfig) -> Any:
    """The class that a node names, whose attributes say what it needs."""
    return get_class(node._target_)


def _with_content(config: dict[str, Any], part: str) -> dict[str, Any]:
    """A stage's config with what identifies the files that one part of it names, if any."""
    kind: Any = get_class(config[part]["_target_"])
    content = kind.content(config[part])
    return {**config, "content": content} if content else config


def _trainer(cfg: DictConfig) -> dict[str, Any]:
    """What of the trainer changes a result; where it runs and what it prints do not."""
    return {"trainer": _plain(cfg.trainer, "precision", "devices")}


def _plain(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return {key: plain[key] for key in keys if key in plain} if keys else plain
