"""One run: composes the stages of a config, and leaves their result in the run's folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nlg_distill.allocator import keep_freed_memory
from nlg_distill.config import check, refuse_repeated
from nlg_distill.environment import FACTS
from nlg_distill.loggers import quiet_libraries
from nlg_distill.rehearsal import rehearse
from nlg_distill.report import show_corpus, show_result
from nlg_distill.runs.state import state_kept
from nlg_distill.session import Session
from nlg_distill.stages.lengths import refuse_too_long
from nlg_distill.stages.plan import Plan, plan
from nlg_distill.store import Stage, Store, metadata, write_json
from nlg_distill.tracking import TolerantWandb
from nlg_distill.tracking.tracking import Tracking


def run(
    cfg: DictConfig, overrides: Sequence[str], folder: str | Path, group: str | None = None
) -> dict[str, Any]:
    """Makes what is missing and writes `config.yaml`, `result.json`, `samples.jsonl` to `folder`.

    `state.json` there says meanwhile how it goes, and at the end with what error, if any.

    Args:
        cfg: the composed config.
        overrides: what the user gave on the command line; an experiment that starts from another
            experiment's student shares them with it.
        folder: the run's own folder.
        group: the table or sweep that it is part of, for loggers; no result depends on it.

    Returns:
        What `result.json` holds.

    Raises:
        UserError: if the config or the user's text is wrong.
    """
    with state_kept(Path(folder), str(cfg.get("name")), overrides):
        return _run(cfg, overrides, Path(folder), group)


def _run(
    cfg: DictConfig, overrides: Sequence[str], folder: Path, group: str | None
) -> dict[str, Any]:
    refuse_repeated(overrides)
    check(cfg)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    rehearse(cfg)
    stages = plan(cfg, overrides)
    session = open_session(cfg, folder, stages.subject, group)
    store = Store(Path(cfg.paths.artifacts), session.made)
    store.warn_of_changed_code([stages.scores])
    if not store.has(stages.scores):
        further = stages.further_tests
        show_corpus(
            cfg,
            store.get(stages.corpus, session),
            None if further is None else store.get(further, session),
        )
        _refuse_too_long(cfg, stages, store, session)
    scores = store.get(stages.scores, session)

    result: dict[str, Any] = json.loads((scores / "result.json").read_text(encoding="utf-8"))
    result |= {
        "name": cfg.name,
        "overrides": list(overrides),
        "stage": cfg.stage,
        "seed": cfg.teacher_seed if cfg.stage == "teacher" else cfg.seed,
        "trained_now": stages.subject.key in session.loggers,
        "artifacts_root": str(store.root.absolute()),
        "scores": f"{scores.parent.name}/{scores.name}",
        **{name: metadata(scores)[name] for name in FACTS},
    }
    write_json(folder / "result.json", result)
    shutil.copyfile(scores / "samples.jsonl", folder / "samples.jsonl")
    logger = session.loggers.get(stages.subject.key)
    if isinstance(logger, TolerantWandb):
        logger.show(result, folder / "samples.jsonl")
        logger.finish()
    show_result(result, folder)
    return result


def _refuse_too_long(cfg: DictConfig, stages: Plan, store: Store, session: Session) -> None:
    """A model that cannot read the text costs no training, of its teacher or of itself."""
    if "model" not in stages.scores.parents:
        return  # a black box
    *before, subject = stages.subject.ancestry()
    waits = not store.has(subject) and any(s.name == "teacher" and not store.has(s) for s in before)
    further = stages.further_tests
    refuse_too_long(
        cfg,
        store.get(stages.corpus, session),
        store.get(stages.tokenizer, session),
        None if further is None else store.get(further, session),
        validates=waits,
        trains=waits and "teacher_text" not in subject.parents,
    )


def validation_score(result: Mapping[str, Any]) -> float | None:
    """The task's monitored score of the validation set, which picked the weights.

    It is what a sweeper optimises; the test set is for what it has found. None where nothing was
    trained, or what was trained diverged.
    """
    scores = [value for name, value in result.items() if name.startswith("best_validation_")]
    return scores[0] if scores and isfinite(scores[0]) else None


def make_stage(
    cfg: DictConfig, overrides: Sequence[str], folder: Path, key: str, group: str
) -> None:
    """Makes one of the stages that a run consists of, by its key; loggers write to `folder`."""
    stages = plan(cfg, overrides)
    stage = next(stage for stage in stages.scores.ancestry() if stage.key == key)
    session = open_session(cfg, folder, stage, group)
    store = Store(Path(cfg.paths.artifacts), session.made)
    if stage.name in ("teacher", "student") and not store.has(stages.scores):
        _refuse_too_long(cfg, stages, store, session)
    store.get(stage, session)
    if isinstance(logger := session.loggers.get(key), TolerantWandb):
        logger.finish()


def open_session(
    cfg: DictConfig, folder: Path, subject: Stage, group: str | None = None
) -> Session:
    """What the stages of a run for `subject` share."""
    quiet_libraries()
    keep_freed_memory()
    tracking = Tracking(cfg, folder, subject, group)
    trainer: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    return Session(Path(cfg.paths.downloads), trainer, tracking.open, tracking.made)
