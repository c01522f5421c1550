"""The loggers of one run: one for each training, and for W&B one for whatever else is made."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nlg_distill.store import Stage, Store
from nlg_distill.tracking.subject import Subject
from nlg_distill.tracking.wandb_run import TolerantWandb


class Tracking:
    """Opens loggers, and tells W&B of each artifact that is made."""

    def __init__(self, cfg: DictConfig, folder: Path, subject: Stage, group: str | None) -> None:
        """Opens nothing yet.

        Args:
            cfg: the run's config.
            folder: the run's own folder.
            subject: what the run is for; the curves of its training go to `folder` itself, those
                of others to a folder inside.
            group: the table or sweep that the run is part of, if it is.
        """
        self.cfg, self.folder, self.subject = cfg, folder, subject
        self.group = group or str(cfg.name)
        self.store = Store(Path(cfg.paths.artifacts))
        self.shared = {stage.key: stage for stage in subject.ancestry()}
        self.config: Any = OmegaConf.to_container(cfg, resolve=True)
        self.opened: dict[str, Any] = {}

    def open(self, out: Path) -> Any:
        """The logger of the training that makes an artifact in `out`, or None."""
        return self._open(self.shared[out.stem], out)

    def made(self, stage: Stage) -> None:
        """A stage's artifact is finished.

        A run of W&B ends with it, but that of the subject's training goes on for its scores.
        """
        trained = stage.key in self.opened
        logger = self.opened[stage.key] if trained else self._open(stage, self.store.path(stage))
        if isinstance(logger, TolerantWandb):
            logger.record(stage, self.store)
            if not trained or stage.key != self.subject.key:
                logger.finish()

    def _open(self, stage: Stage, out: Path) -> Any:
        before = self.opened.values()
        if any(isinstance(logger, TolerantWandb) and logger.broken for logger in before):
            return None  # it said so, and would take as long to fail again
        own = stage.key == self.subject.key
        described = Subject(
            folder=self.folder if own else self.folder / stage.key,
            run_folder=self.folder,
            stage=stage.name,
            artifact=out,
            title=self._title(stage),
            tags=self._tags(stage),
            group=self.group,
            config=self.config,
        )
        self.opened[stage.key] = instantiate(self.cfg.logger, described)
        return self.opened[stage.key]

    def _title(self, stage: Stage) -> str:
        what = stage.name.replace("_", " ")
        if stage.key not in self.shared:  # made of the subject
            return f"{self._title(self.subject)}: {what}"
        name = self.cfg.name if stage.key == self.subject.key else what
        return f"{name}, seed {stage.config['seed']}" if "seed" in stage.config else str(name)

    def _tags(self, stage: Stage) -> list[str]:
        """The experiment, of what no other experiment shares; and the seed."""
        own = stage.key == self.subject.key or stage.key not in self.shared
        seeded = self.subject if own else stage
        seed = [f"seed {seeded.config['seed']}"] if "seed" in seeded.config else []
        return [*([str(self.cfg.name)] if own else []), *seed]
