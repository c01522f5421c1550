"""Where curves and results go. A logger that breaks never stops a run."""

import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

Config = Mapping[str, Any]


class TolerantWandb(Logger):
    """W&B that turns itself off, with a warning, at its first error."""

    def __init__(self, folder: Path, name: str, config: Config, project: str) -> None:
        """Starts the run at the first logged value, offline unless the user is logged in."""
        super().__init__()
        self.folder, self.project, self.config = folder, project, config
        self._name = name
        self._logger: WandbLogger | None = None
        self._broken = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self.folder.name

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is given at the start; modules add none."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._try(lambda logger: logger.log_metrics(dict(metrics), step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The run goes on after training: its scores are still to come."""

    @rank_zero_only
    def finish(self, result: Config, samples: Path) -> None:
        """The scores as the run's summary, the first samples as a table; closes the run."""

        def write(logger: WandbLogger) -> None:
            run = logger.experiment
            run.summary.update(flat(result))
            rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()[:100]]
            logger.log_table("samples", list(rows[0]), [list(row.values()) for row in rows])
            run.finish()

        self._try(write)

    def _try(self, action: Any) -> None:
        if self._broken:
            return
        try:
            self._logger = self._logger or self._start()
            action(self._logger)
        except Exception as error:
            self._broken = True
            warnings.warn(
                f"W&B stopped working and is off for the rest of this run "
                f"({type(error).__name__}: {error}); result.json is written all the same",
                stacklevel=2,
            )

    def _start(self) -> WandbLogger:
        import wandb

        chosen = "WANDB_MODE" in os.environ or wandb.login(prompt=False)
        run = wandb.init(
            name=self._name,
            project=self.project,
            dir=self.folder,
            config=dict(self.config),
            mode=None if chosen else "offline",
            settings=wandb.Settings(
                reinit="create_new",
                silent=True,
                console="off",
                init_timeout=30,
                x_disable_stats=True,
            ),
        )
        return WandbLogger(experiment=run)


def wandb_logger(folder: Path, name: str, config: Config, *, project: str) -> TolerantWandb:
    """Weights & Biases."""
    return TolerantWandb(folder, name, config, project)


def csv_logger(folder: Path, name: str, config: Config) -> CSVLogger:
    """A `metrics.csv` in the run's folder."""
    return CSVLogger(folder, name="", version="curves")


def no_logger(folder: Path, name: str, config: Config) -> None:
    """No curves."""


def quiet_libraries() -> None:
    """Keeps errors and warnings, without Lightning's tips, requests, and what our own bars show."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    noises = ["does not have many workers", "LeafSpec", "srun", "tensorboard"]
    noises.append("exists and is not empty")  # the folder of a training that goes on
    noises.append("smaller than the logging interval")  # where it is validated more often
    for noise in noises:
        warnings.filterwarnings("ignore", f".*{noise}.*")


def flat(values: Config, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by slashes."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}/")
        else:
            result[f"{prefix}{key}"] = value
    return result
