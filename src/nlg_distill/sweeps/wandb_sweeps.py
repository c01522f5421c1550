"""Sweeps of Weights & Biases: the search spaces of `conf/sweep` as its agents read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nlg_distill.config import CONF, check, compose
from nlg_distill.errors import UserError
from nlg_distill.tasks import Task

METHODS = ("bayes", "random", "grid")


def write_wandb_sweep(
    name: str, file: Path, overrides: Sequence[str] = (), method: str = "bayes"
) -> dict[str, Any]:
    """Writes what `wandb sweep FILE` registers and an agent then runs, and gives it.

    Args:
        name: the search space, a file of `conf/sweep`.
        file: where it goes.
        overrides: what all runs have in common, as for `train.py`.
        method: how W&B chooses: `bayes`, `random` or `grid`.

    Raises:
        UserError: if there is no such search space or method, or an agent could not run it.
    """
    if method not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, got {method}")
    space = CONF / "sweep" / f"{name}.yaml"
    if not space.is_file():
        known = ", ".join(sorted(path.stem for path in space.parent.glob("*.yaml")))
        raise UserError(f"there is no {space}: name one of {known}")
    spec: Any = OmegaConf.to_container(OmegaConf.load(space), resolve=False)
    given = [f"experiment={_experiment(spec)}", *overrides]
    cfg = compose(given)
    check(cfg)
    if not str(cfg.logger._target_).endswith("wandb_logger"):
        raise UserError("an agent learns of the scores from W&B: leave logger= as it is")
    fixed = {override.partition("=")[0] for override in overrides}
    params = {k: v for k, v in spec["hydra"]["sweeper"]["params"].items() if k not in fixed}
    task: Task = instantiate(cfg.task, _convert_="all")
    made = {
        "program": "train.py",
        "name": f"{name} on validation",
        "method": method,
        "metric": {
            "name": f"best_validation_{task.monitor.removeprefix('val/')}",
            "goal": f"{task.mode}imize",
        },
        "parameters": _parameters(params, method),
        "command": ["${env}", "${interpreter}", "${program}", *given, "${args_no_hyphens}"],
    }
    file.write_text(yaml.safe_dump(made, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return made


def _experiment(spec: dict[str, Any]) -> str:
    """The experiment that a search space is for."""
    chosen = {key: value for entry in spec["defaults"] for key, value in entry.items()}
    experiment: str = chosen["override /experiment"]
    return experiment


def _parameters(params: dict[str, str], method: str) -> dict[str, Any]:
    parsed = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items()])
    found = {override.get_key_element(): _distribution(override) for override in parsed}
    if method == "grid" and (wide := [name for name, p in found.items() if "values" not in p]):
        raise UserError(f"a grid has no values for {', '.join(wide)}: use bayes or random")
    return found


def _distribution(override: Override) -> dict[str, Any]:
    """Where W&B draws a setting from, as Optuna does from the same words of Hydra."""
    value = override.value()
    if isinstance(value, ChoiceSweep | RangeSweep):
        return {"values": list(override.sweep_iterator(transformer=Transformer.encode))}
    if not isinstance(value, IntervalSweep):
        return {"value": override.get_value_element_as_str()}
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        if "log" in value.tags:
            raise UserError(f"{override.input_line}: W&B draws no whole numbers by their logarithm")
        return {"distribution": "int_uniform", "min": low, "max": high}
    kind = "log_uniform_values" if "log" in value.tags else "uniform"
    return {"distribution": kind, "min": float(low), "max": float(high)}
