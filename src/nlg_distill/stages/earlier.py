"""The experiment whose student another one starts from (`init.experiment=...`)."""

import re
from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from nlg_distill.config import compose
from nlg_distill.errors import UserError
from nlg_distill.init.experiment import refuse_other_structure
from nlg_distill.stages.models import build_model

AXES = ("experiment", "init", "targets", "loss", "wrapper", "sweep")


def earlier(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the experiment that `cfg.init` names, under the same overrides.

    Raises:
        UserError: It trains no student, or one whose parameters do not fit `cfg`'s.
    """
    name = cfg.init.experiment
    found = compose([*shared_with_earlier(overrides), f"experiment={name}"])
    if found.stage != "student":
        raise UserError(
            f"init.experiment={name} trains no student: name an experiment that does, such as "
            f"init.experiment=word_kd, or take the teacher's layers with init=copy_layers"
        )
    assert found.data == cfg.data
    pieces: int = instantiate(cfg.data.tokenizer).vocab_size
    with torch.device("meta"):
        ours, theirs = (build_model(c.student_model, pieces) for c in (cfg, found))
    refuse_other_structure(ours, theirs, name)
    return found


def shared_with_earlier(overrides: Sequence[str]) -> list[str]:
    """The overrides that an earlier experiment shares: all but those of the method itself."""
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    places = [re.split(r"[.:]", key.rpartition("@")[2])[0] for key in keys]
    return [o for o, place in zip(overrides, places, strict=True) if place not in AXES]
