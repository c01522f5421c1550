"""Makes what a config names, without data, so that every constructor can refuse before a start."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from nlg_distill.data.batch import Author, Example, SpecialIds, collate
from nlg_distill.data.hygiene import Cleaning
from nlg_distill.data.tokenizer import Shared, TokenizerMaker
from nlg_distill.errors import UserError
from nlg_distill.losses import FeatureTerm, Objective
from nlg_distill.models import GenerationModel
from nlg_distill.precision import autocast
from nlg_distill.session import Session
from nlg_distill.stages.models import build_model
from nlg_distill.targets import TargetsPolicy
from nlg_distill.tasks import Task
from nlg_distill.teachers.preflight import refuse_across_tokenizers
from nlg_distill.teachers.signal import TeacherSignal


def rehearse(cfg: DictConfig) -> None:
    """Calls the constructors of a config's models, losses, targets, optimizers and settings.

    Raises:
        UserError: at the first value that one of them does not take.
    """
    made = {}
    for name in ("data", "task", "scoring", "targets", "init"):
        with _naming(name):
            made[name] = instantiate(cfg[name], _convert_="all")
    tokenizers = _tokenizers(cfg, made["data"]["tokenizer"])
    pieces = tokenizers["student_model"].vocab_size
    for name, tokenizer in tokenizers.items():
        with _naming(name), torch.device("meta"):
            made[name] = build_model(cfg[name], tokenizer.vocab_size)
            made[name].refuse_other_tokens(tokenizer.special)
    with _naming("init"):
        made["init"].rehearse(made["student_model"], made["teacher_model"])
    _refuse_other_than_gold(_objective(cfg, "teacher_loss"))
    objective = _objective(cfg, "loss")
    _refuse_more_than_all(cfg, objective, pieces)
    _warn_of_noise(made)
    _refuse_writing_for_nothing(made)
    objective.check_texts(made["targets"].authors, made["targets"].teacher_share)
    _compare_inner_states(objective, made["student_model"], made["teacher_model"])
    for name in ("teacher_training", "student_training"):
        with _naming(name):
            made[name] = instantiate(cfg[name], _convert_="all")
            made[name].rehearse()
    _refuse_untrained(made)
    with _naming("trainer"):
        device = Session(Path(), cfg.trainer, lambda key: None).device
        autocast(cfg.trainer.precision, device)
    for name, path in cfg.paths.items():
        if not _can_write(Path(path)):
            raise UserError(f"paths.{name!s}={path}: cannot write there")


def _tokenizers(cfg: DictConfig, ours: TokenizerMaker | Shared) -> dict[str, TokenizerMaker]:
    """The tokenizer of each model; both are opened."""
    if isinstance(ours, Shared):
        raise UserError(
            "data.tokenizer is the student's, which a teacher may share: choose another, such as "
            "tokenizer@data.tokenizer=sentencepiece"
        )
    with _naming("data.tokenizer"):
        assert ours.vocab_size > 0
    with _naming("teacher_tokenizer"):
        theirs: TokenizerMaker | Shared = instantiate(cfg.teacher_tokenizer, _convert_="all")
        if isinstance(theirs, Shared):
            return {"teacher_model": ours, "student_model": ours}
        assert theirs.vocab_size > 0
    if cfg.stage == "student":
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        refuse_across_tokenizers(plain["targets"], plain["loss"], plain["init"])
        kinds: list[Any] = [get_class(term["_target_"]) for term in plain["loss"].values()]
        if any(kind.asks for kind in kinds):
            for name, tokenizer in ("data.tokenizer", ours), ("teacher_tokenizer", theirs):
                with _naming(name):
                    tokenizer.refuse_without_places()
    return {"teacher_model": theirs, "student_model": ours}


def _objective(cfg: DictConfig, name: str) -> Objective:
    """The weighted sum under this name, each of its terms rehearsed."""
    with _naming(name):
        objective = Objective(instantiate(cfg[name], _convert_="all"))
    for term_name, term in objective.items():
        with _naming(f"{name}.{term_name}"):
            term.rehearse()
    return objective


def _warn_of_noise(made: Mapping[str, Any]) -> None:
    """Its own text teaches a student something only where it can write."""
    can_write = made["init"].trained or made["student_model"].pretrained
    if made["targets"].needs_trained_student and not can_write:
        warnings.warn(
            "the student starts at random and is trained on its own text, which is noise at first: "
            "warm-start it with init=experiment, which takes the baseline",
            stacklevel=3,
        )


def _compare_inner_states(
    objective: Objective, student: GenerationModel, teacher: GenerationModel
) -> None:
    """Lets the terms that look inside two models do so, on a text without words."""
    terms = {name: term for name, term in objective.items() if isinstance(term, FeatureTerm)}
    if not terms:
        return
    batch = collate([Example(0, [], [])], SpecialIds(pad=0, begin=1, end=2))
    with torch.no_grad():
        ours, theirs = (model.to_empty(device="cpu")(batch) for model in (student, teacher))
        for name, term in terms.items():
            with _naming(f"loss.{name}"):
                term(ours, TeacherSignal(theirs), batch)


def _refuse_writing_for_nothing(made: Mapping[str, Any]) -> None:
    """Without sources, there is nothing that a text could be written for."""
    cleaning: Cleaning = made["data"]["cleaning"]
    task: Task = made["task"]
    targets: TargetsPolicy = made["targets"]
    if not task.writes and made["scoring"].draws:
        raise UserError(
            "scoring.draws=true changes nothing where there are no sources: texts are drawn anyway"
        )
    if cleaning.without_source and task.writes:
        raise UserError(
            "data.cleaning.without_source=true leaves no sources to write for, as this task does: "
            "choose task=language_modeling"
        )
    if not task.writes and targets.authors != {Author.GOLD}:
        raise UserError(
            "task.writes=false says that there are no sources to write for: models learn from gold "
            "text alone, targets=gold"
        )


def _refuse_untrained(made: Mapping[str, Any]) -> None:
    """Only a checkpoint can be taken over as it is, and only by a teacher."""
    if not made["student_training"].trains:
        raise UserError("a student is trained: leave training@student_training=none to a teacher")
    teacher = made["teacher_model"]
    if not made["teacher_training"].trains and (not teacher.pretrained or teacher.adapted):
        what = "teacher_model.lora, which" if teacher.adapted else "a teacher at random, which"
        raise UserError(
            f"training@teacher_training=none takes over a checkpoint as it is, not {what} would "
            f"have to be trained: give teacher_model.path alone, or a training"
        )


def _refuse_other_than_gold(teacher_loss: Objective) -> None:
    """A teacher has no teacher, and is trained on gold text."""
    for name, term in teacher_loss.items():
        if term.asks:
            raise UserError(
                f"teacher_loss.{name} asks for a teacher, and the teacher itself has none: choose "
                f"it for the student, as in loss=[nll,{name}], and leave loss@teacher_loss=[nll]"
            )
        if term.author is not None and term.author != Author.GOLD:
            raise UserError(
                f"teacher_loss.{name}.written_by={term.author.name.lower()}: a teacher is trained "
                f"on gold text alone: leave written_by out"
            )


def _refuse_more_than_all(cfg: DictConfig, objective: Objective, pieces: int) -> None:
    """Of k tokens, no more can be kept than there are."""
    kept = {"teacher.k": cfg.teacher.get("k") or 0}
    terms = objective.items()
    kept |= {f"loss.{name}.k": term.fewest_tokens for name, term in terms}
    for setting, k in kept.items():
        if k > pieces:
            raise UserError(
                f"{setting}={k} is more than the {pieces} pieces of data.tokenizer: set it to "
                f"{pieces} for all of them"
            )


def _can_write(path: Path) -> bool:
    """Whether files can be made in a folder that may not be there yet."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Says which part of the config an error belongs to."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if cause is None:
            raise UserError(f"{where}: {error}") from error
        place = str(error).rsplit("full_key: ", 1)
        key = place[1] if len(place) == 2 else where
        raise UserError(f"{key}: {cause}") from error
    except (MisconfigurationException, RuntimeError) as error:
        raise UserError(f"{where}: {error} Without such a device, use trainer=cpu") from error
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{where}: {error}") from error
