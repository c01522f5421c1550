"""Configs: composed by Hydra, checked against the constructors that they name."""

import difflib
import functools
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from nlg_distill.errors import UserError
from nlg_distill.signatures import check_node, fits

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PACKAGES = {  # parts of a config that have another name than their group
    "teacher_model": "model",
    "student_model": "model",
    "teacher_training": "training",
    "student_training": "training",
    "teacher_tokenizer": "tokenizer",
}
OURS = {  # what a training gives to the Trainer itself
    "accumulate_grad_batches",
    "callbacks",
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "logger",
    "max_epochs",
    "max_steps",
    "num_sanity_val_steps",
    "use_distributed_sampler",
}


def _scaled(model: DictConfig, share: object) -> int | None:
    """The share of a model's hidden size; None where its config names none, or one is no number."""
    from nlg_distill.models.widths import scaled  # needs torch, which composing does not

    size = model.get("hidden_size")
    if isinstance(size, int) and isinstance(share, int | float):
        return scaled(size, share)
    return None  # other types are refused by their own names


def _cpu_precision() -> str:
    from nlg_distill.precision import cpu_precision  # needs torch, which composing does not

    return cpu_precision()


OmegaConf.register_new_resolver("scaled", _scaled, replace=True)
OmegaConf.register_new_resolver("cpu_precision", _cpu_precision, replace=True)

# Hydra copies its one store of plugins' settings whenever it composes, and once for each group that
# --help lists: most of what both cost. It copies again whatever it takes out of the store.
ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


def compose(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """The config that `python train.py` would run with these overrides.

    Raises:
        UserError: if an override names what does not exist.
    """
    if not CONF.is_dir():
        raise UserError(
            f"there is no {CONF}: install the project from its checkout with pip install -e ."
        )
    refuse_repeated(overrides)
    previous = GlobalHydra.instance().hydra  # train.py's own, while it runs
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose(config_name, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    finally:
        GlobalHydra.instance().hydra = previous


def refuse_repeated(overrides: Sequence[str]) -> None:
    """Of a choice that is made twice in one list, Hydra takes one.

    Raises:
        UserError: if a loss is.
    """
    for override in overrides:
        found = re.fullmatch(r"\+?loss(?:@(\w+))?=\[(.*)\]", override)
        terms = [term.strip() for term in found[2].split(",")] if found else []
        if found and (again := next((term for term in terms if terms.count(term) > 1), None)):
            raise UserError(
                f"{override} has {again} twice, and would be trained with it once: give it once, "
                f"with the weight of both, {found[1] or 'loss'}.{again}.weight=2"
            )


@functools.cache
def _defaults() -> DictConfig:
    return compose([])


def explain(error: Exception) -> str:
    """The error of an override, with the nearest valid name."""
    cause = str(error.__cause__)
    message = re.sub(r"\n+\s*(Config search path:|To append to).*(\n\t.*)*", "", str(error).strip())
    named = re.search(r"Could not (?:override|find|append|load) '([^']+)'|Key '([^']+)'", message)
    if named is None or "Did you mean" in message:
        return message
    wrong = named[1] or named[2]
    if new := re.search(rf"full_key: ({re.escape(wrong)}\..+)", cause):
        return f"{message}\n{new[1]} is new there: add it with a plus, +{new[1]}=..."
    if wrong.startswith("wrapper@"):
        return f"{message}\nA wrapper is added: +{wrong}=..."
    if wrong.startswith(("hydra/launcher/", "hydra/sweeper/")):
        return f"{message}\nOthers come with an extra: pip install -e '.[sweep]'"
    group, slash, _ = wrong.rpartition("/")
    root, *rest = wrong.split(".")
    losses = {path.stem: path for path in (CONF / "loss").glob("*.yaml")}
    if root == "loss" and rest and rest[0] in losses:
        names = [f"loss.{key}" for key in _keys(OmegaConf.load(losses[rest[0]]))]  # type: ignore[arg-type]
        if wrong in names:
            hint = f"choose it, as in loss=[nll,{rest[0]}]"
            return f"{message}\n{rest[0]} is no term of this run: {hint}"
    elif root == "loss" and len(rest) > 1:
        names, wrong = list(losses), rest[0]
        message += f"\nThere is no conf/loss/{wrong}.yaml."
    elif slash:
        names, wrong = [path.stem for path in (CONF / group).glob("*.yaml")], wrong.split("/")[-1]
    else:
        names = [path.name for path in CONF.iterdir() if path.is_dir()]
        names += list(_keys(_defaults()))
    near = [name for name in names if name.split(".")[-1] == wrong.split(".")[-1]]
    near.sort(key=lambda name: name.count("."))
    if not near and (places := _takers(wrong)):
        return places
    own = [] if root.endswith("loss") else _settings_of(root)
    near = near or _nearest(wrong, own) or _nearest(wrong, names)
    return message + (f"\nDid you mean {' or '.join(near[:2])}?" if near else "")


def _settings_of(root: str) -> list[str]:
    """What the configs of a part's group set, whichever is chosen."""
    files = sorted((CONF / PACKAGES.get(root, root)).glob("*.yaml"))
    return [f"{root}.{key}" for file in files for key in _keys(OmegaConf.load(file))]  # type: ignore[arg-type]


def _nearest(wrong: str, names: Sequence[str]) -> list[str]:
    """The name whose last part is most like that of a wrong one: what stands before may be long."""
    given = [name for name in names if "._" not in name]
    ends = {name.split(".")[-1] for name in given}
    close = difflib.get_close_matches(wrong.split(".")[-1], ends, n=1, cutoff=0.6)
    alike = [name for name in given if name.split(".")[-1] in close]
    return difflib.get_close_matches(wrong, alike, n=1, cutoff=0.0)


def _takers(path: str) -> str | None:
    """Where a constructor takes the last part of this path, though no config gives it; for people.

    None if none does.
    """
    *parents, name = path.split(".")
    if not parents:
        return None
    place = ".".join(parents)
    plus = f"is left at its default and in no config: add it with a plus, +{path}=..."
    if _takes(_defaults(), place, name):
        return f"{path} {plus}"
    files = sorted((CONF / parents[0]).glob("*.yaml"))
    trees = {file.stem: OmegaConf.create({parents[0]: OmegaConf.load(file)}) for file in files}
    found = [stem for stem, tree in trees.items() if _takes(tree, place, name)]
    if not found:
        return None
    if parents[0] == "loss":
        return f"{path} {plus}"
    return (
        f"{path} is a setting of {parents[0]}={' or '.join(found)}: choose it, and add the setting "
        f"with a plus, +{path}=..., where its config leaves it out"
    )


def _takes(tree: DictConfig, place: str, name: str) -> bool:
    node = OmegaConf.select(tree, place)
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    return target is not None and name in inspect.signature(get_object(target)).parameters


def check(cfg: DictConfig) -> None:
    """Compares every node that names a constructor with that constructor's signature.

    Raises:
        UserError: at a missing value, or one that does not fit.
    """
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError as error:
        where, said = error.full_key, str(error).splitlines()[0]
        remedy = f". Give it a value itself, as {where}=..."
        if said.startswith(UserError.__name__):  # which has its own
            remedy = ""
        raise UserError(f"{where}: {said.partition(': ')[2] or said}{remedy}") from error
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"no value for {', '.join(missing)}: give it as {missing[0]}=...")
    for name, value in (("seed", cfg.seed), ("teacher_seed", cfg.teacher_seed)):
        if not fits(value, int):
            raise UserError(f"{name} must be int, got {value!r}")
        if not 0 <= value < 2**32:
            raise UserError(f"{name} must be in [0, 2^32), got {value}")
    if not isinstance(cfg.name, str) or "/" in cfg.name or cfg.name.startswith("."):
        raise UserError(f"name must be the name of a folder, got {cfg.name!r}")
    if unknown := sorted({str(key) for key in cfg} - {str(key) for key in _defaults()}):
        near = difflib.get_close_matches(unknown[0], [str(key) for key in _defaults()], n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UserError(f"nothing reads {unknown[0]}{hint}")
    if absent := sorted({str(key) for key in _defaults()} - {str(key) for key in cfg}):
        raise UserError(f"nothing is chosen for {absent[0]}")
    _check_trainer(cfg.trainer)
    if cfg.stage not in ("teacher", "student"):
        raise UserError(f"stage must be teacher or student, got {cfg.stage!r}")
    for group, usual in _defaults().items():
        if isinstance(usual, DictConfig) and not isinstance(cfg[group], DictConfig):
            raise UserError(
                f"{group!s} must be a config, got {cfg[group]!r}: choose one, for example "
                f"model@student_model=lstm_128"
            )
    _check_terms("loss", "loss", cfg.loss)
    _check_terms("teacher_loss", "loss@teacher_loss", cfg.teacher_loss)
    for path, node in _nodes(cfg, ""):
        if "_target_" in node:
            check_node(path, node)


def _check_trainer(trainer: DictConfig) -> None:
    if ours := OURS & {str(key) for key in trainer}:
        raise UserError(
            f"trainer.{min(ours)} is not read: a training's length, clipping and the like are set "
            f"in student_training and teacher_training, its logger by logger="
        )
    if "strategy" in trainer or trainer.get("num_nodes", 1) != 1:
        raise UserError(
            "trainer.strategy and trainer.num_nodes cannot be chosen: several devices of one "
            "machine train as trainer.devices=2, by data parallelism (ddp_spawn)"
        )
    devices = trainer.get("devices")
    if not fits(devices, int) or devices < 1:
        raise UserError(
            f"trainer.devices must be their number, got {devices!r}: the number changes a result, "
            f"which may not depend on what a machine has: give it, as in trainer.devices=2, and "
            f"say which ones with CUDA_VISIBLE_DEVICES"
        )


def _check_terms(group: str, choice: str, terms: DictConfig) -> None:
    chosen = [str(name) for name, term in terms.items() if isinstance(term, DictConfig)]
    for name, term in terms.items():
        if not isinstance(term, DictConfig):
            example = chosen[0] if chosen else "nll"
            raise UserError(
                f"{group}.{name!s}={term} is no term: a setting belongs to one, as in "
                f"{group}.{example}.{name!s}={term}"
            )
        if "_target_" not in term:
            terms_there = [path.stem for path in (CONF / "loss").glob("*.yaml")]
            if name not in terms_there:
                near = difflib.get_close_matches(str(name), terms_there, n=1)
                hint = f": did you mean {group}.{near[0]}?" if near else ""
                raise UserError(f"{group}.{name!s} has settings, but there is no such loss{hint}")
            raise UserError(
                f"{group}.{name!s} has settings, but is no term of this run: choose it too, as in "
                f"{choice}=[nll,{name!s}], or leave out what sets it, such as an experiment with "
                f"that term"
            )


def _nodes(cfg: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    for key, value in cfg.items():
        if isinstance(value, DictConfig):
            name = f"{path}.{key!s}" if path else str(key)
            yield name, value
            yield from _nodes(value, name)


def _keys(cfg: DictConfig, path: str = "") -> Iterator[str]:
    for key in cfg:
        name = f"{path}.{key!s}" if path else str(key)
        yield name
        value = cfg._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
            yield from _keys(value, name)
