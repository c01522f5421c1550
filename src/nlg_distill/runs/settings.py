"""What a run was made with, as keys and values that people can choose, compare and name."""

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf

from nlg_distill.config import CONF, PACKAGES
from nlg_distill.errors import UserError

ABSENT = "-"  # what stands for a setting that a run does not have
TARGET = "_target_"


class Settings:
    """The settings of one run by their dotted keys.

    A key is one of the resolved config, a leaf or a whole part (`seed`, `loss`,
    `student_training.optimizer.lr`), one of an override (`model@student_model`), or `experiment`,
    which is the run's name where the user chose no experiment.
    """

    def __init__(self, name: str, overrides: Sequence[str], config: Mapping[str, Any]) -> None:
        """`name` of the run; `overrides` as the user gave them; the resolved `config`."""
        self.config = config
        self.given = given(overrides)
        self.given.setdefault("experiment", name)

    def has(self, key: str) -> bool:
        """Whether the run has such a setting."""
        return key in self.given or self._found(key) is not None

    def value(self, key: str) -> Any:
        """A setting; of a group that an override chose, its config."""
        found = self._found(key)
        return self.given.get(key, ABSENT) if found is None else found[0]

    def text(self, key: str) -> str:
        """A setting, for people: a group by the name that it was chosen by."""
        value = self.value(key)
        if isinstance(value, Mapping | list) and key in self.given:
            return self.given[key]
        if isinstance(value, Mapping):
            return _short_text(key, value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def is_(self, key: str, wanted: str) -> bool:
        """Whether a setting is what someone typed: as text, as a number or as YAML."""
        value = self.value(key)
        if wanted == self.text(key) or wanted == self.given.get(key):
            return True
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(wanted) == value
            except ValueError:
                return False
        try:
            return bool(yaml.safe_load(wanted) == value)
        except yaml.YAMLError:
            return False

    def _found(self, key: str) -> tuple[Any] | None:
        """What the config holds at a path, or at the one that a group was chosen for."""
        node: Any = self.config
        group, at, package = key.partition("@")
        if at and not (CONF / group).is_dir():
            return None
        for part in (package or group).split("."):
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return (node,)


def given(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides as keys and values; of several of one key, the last."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def require_key(key: str, runs: Sequence[Settings]) -> None:
    """Refuses a key that no run has.

    Raises:
        UserError: with near names.
    """
    if any(run.has(key) for run in runs):
        return
    known = {name for run in runs for name in [*run.given, *_paths(run.config)]}
    last = key.split(".")[-1]
    near = sorted((n for n in known if n.split(".")[-1] == last), key=lambda n: (n.count("."), n))
    near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "see config.yaml of a run"
    raise UserError(f"no run has a setting {key!r}: {hint}")


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting that holds no others, by its dotted key."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= leaves(value, f"{name}.")
        else:
            found[name] = value
    return found


def short_names(keys: Sequence[str], runs: Sequence[Settings]) -> dict[str, str]:
    """The shortest ends of dotted keys that name no other setting of some runs.

    A teacher's settings say that they are; what is said of none is of the student.
    """
    known = {path for run in runs for path in _paths(run.config)}
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in reversed(range(len(parts)))]
        rivals = known if _of_teacher(key) else {k for k in known if not _of_teacher(k)}
        others = {*rivals, *keys} - {key}
        free = (end for end in ends if not any(f".{o}".endswith(f".{end}") for o in others))
        names[key] = next(free, key)
    return names


def _of_teacher(key: str) -> bool:
    return key.split("@")[-1].startswith("teacher_")


def _short_text(key: str, part: Mapping[str, Any]) -> str:
    """A part of a config, for people: as the config group calls it, or its terms in brackets."""
    if part and all(isinstance(value, Mapping) for value in part.values()):
        return f"[{','.join(part)}]"
    if chosen := _choice(key, part):
        return chosen
    if TARGET in part:
        return str(part[TARGET]).rpartition(".")[2]
    return json.dumps(part, ensure_ascii=False)


def _choice(key: str, part: Mapping[str, Any]) -> str | None:
    """The config of a group that a part is: the one that says most of it, and nothing else.

    Where none does, one whose constructor no other names.
    """
    group, at, package = key.partition("@")
    choices = _choices(group if at else PACKAGES.get(package or group, group))
    had = leaves(part).items()
    fitting = {name: said for name, said in choices.items() if said and said.items() <= had}
    if fitting:
        return max(fitting, key=lambda name: len(fitting[name]))
    alike = [name for name, said in choices.items() if said.get(TARGET) == part.get(TARGET, "")]
    return alike[0] if len(alike) == 1 else None


@functools.cache
def _choices(group: str) -> dict[str, dict[str, Any]]:
    """What each config of a group says, by dotted keys; none where there is no such group."""
    return {path.stem: _said(group, path.stem) for path in sorted((CONF / group).glob("*.yaml"))}


def _said(group: str, name: str) -> dict[str, Any]:
    """What a config says, with those of its group that it builds on.

    A value that refers to another, or is left open, says nothing.
    """
    config: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    found: dict[str, Any] = {}
    for base in config.pop("defaults", []):
        if isinstance(base, str) and (CONF / group / f"{base}.yaml").is_file():
            found |= _said(group, base)
    found |= leaves(config)
    return {k: v for k, v in found.items() if not re.search(r"\$\{|^\?{3}$", str(v))}


def _paths(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
