"""Where curves and results go."""

import logging
import warnings

from lightning.pytorch.loggers import CSVLogger

from nlg_distill.tracking import TolerantWandb
from nlg_distill.tracking.subject import Subject


def wandb_logger(
    subject: Subject, *, project: str, group: str | None, upload_models: bool
) -> TolerantWandb:
    """Weights & Biases: a run for each stage that is made, and its artifact."""
    return TolerantWandb(subject, project=project, group=group, upload_models=upload_models)


def csv_logger(subject: Subject) -> CSVLogger:
    """A `metrics.csv` in the subject's folder."""
    return CSVLogger(subject.folder, name="", version="curves")


def no_logger(subject: Subject) -> None:
    """No curves but those beside the model."""


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
