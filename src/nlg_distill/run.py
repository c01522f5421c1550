"""One run: composes the stages of a config, and leaves their result in the run's folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nlg_distill.allocator import keep_freed_memory
from nlg_distill.config import check
from nlg_distill.loggers import TolerantWandb, quiet_libraries
from nlg_distill.rehearsal import rehearse
from nlg_distill.report import show_corpus, show_result
from nlg_distill.session import Session
from nlg_distill.stages.plan import plan
from nlg_distill.store import Stage, Store, environment, write_json


def run(cfg: DictConfig, overrides: Sequence[str], folder: str | Path) -> dict[str, Any]:
    """Makes what is missing and writes `config.yaml`, `result.json`, `samples.jsonl` to `folder`.

    Args:
        cfg: the composed config.
        overrides: what the user gave on the command line; an experiment that starts from another
            experiment's student shares them with it.
        folder: the run's own folder.

    Returns:
        What `result.json` holds.

    Raises:
        UserError: if the config or the user's text is wrong.
    """
    check(cfg)
    rehearse(cfg)
    stages = plan(cfg, overrides)
    store = Store(Path(cfg.paths.artifacts))
    store.warn_of_changed_code([stages.scores])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    session = open_session(cfg, folder, stages.subject)
    further = stages.further_tests
    show_corpus(
        cfg,
        store.get(stages.corpus, session),
        None if further is None else store.get(further, session),
    )
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
        **environment(),
    }
    write_json(folder / "result.json", result)
    shutil.copyfile(scores / "samples.jsonl", folder / "samples.jsonl")
    for key, logger in session.loggers.items():
        if isinstance(logger, TolerantWandb):
            logger.finish(result if key == stages.subject.key else {}, folder / "samples.jsonl")
    show_result(result, folder)
    return result


def validation_score(result: Mapping[str, Any]) -> float | None:
    """The task's monitored score of the validation set, which picked the weights.

    It is what a sweeper optimises; the test set is for what it has found. None where nothing was
    trained.
    """
    scores = [value for name, value in result.items() if name.startswith("best_validation_")]
    return scores[0] if scores else None


def open_session(cfg: DictConfig, folder: Path, subject: Stage) -> Session:
    """What the stages share; the subject's curves go to `folder`, others' to a folder inside."""
    quiet_libraries()
    keep_freed_memory()
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)

    def open_logger(key: str) -> Any:
        if key == subject.key:
            return instantiate(cfg.logger, folder, cfg.name, resolved)
        return instantiate(cfg.logger, folder / key, f"{cfg.name}/{key}", resolved)

    return Session(Path(cfg.paths.downloads), resolved["trainer"], open_logger)
