"""Nodes of a config, compared with the signatures of the constructors that they name."""

import difflib
import importlib.util
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig

from nlg_distill.errors import UserError
from nlg_distill.extras import install

WRAPPED = ("anneal", "temperature", "token_weights", "transform")  # what conf/wrapper sets


def check_node(path: str, node: DictConfig) -> None:
    """Compares the values of a node with the signature of the constructor that it names.

    Raises:
        UserError: if it cannot be imported, or at a value that it does not take.
    """
    try:
        target = get_object(node._target_)
    except Exception as error:
        package = str(node._target_).partition(".")[0]
        command = None if importlib.util.find_spec(package) else install(package)
        hint = f"\nIt comes with an extra: {command}" if command else ""
        raise UserError(
            f"{path}._target_={node._target_} cannot be imported: {error}{hint}"
        ) from error
    function = target.__init__ if inspect.isclass(target) else target
    parameters = inspect.signature(target).parameters
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # other packages may name what they import for type checkers alone
        hints = {}
    for key in node:
        name = str(key)
        if name in ("_target_", "_partial_", "_recursive_"):
            continue
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {path}.{near[0]}?" if near else f"it takes {list(parameters)}"
            if name in WRAPPED and "loss." in path:
                hint = f"what a wrapper sets there does not apply to this term; {hint}"
            raise UserError(f"{path}.{name} is not an argument of {node._target_}: {hint}")
        value = node[name]
        if isinstance(value, DictConfig | ListConfig):
            wrong = "_target_" not in value and _is_of_leaves(hints.get(name))
        else:
            wrong = not fits(value, hints.get(name))
        if wrong:
            plain = inspect.isclass(hints[name])
            expected = hints[name].__name__ if plain else str(hints[name]).replace("typing.", "")
            raise UserError(f"{path}.{name} must be {expected}, got {value!r}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a leaf of a config has the type of an annotation; what is not understood, passes."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if inspect.isclass(hint) and hint is not Any else True


def _is_of_leaves(hint: Any) -> bool:
    """Whether an annotation takes numbers, words or functions alone."""
    united = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if united else [hint]
    leaves = (bool, int, float, str, types.NoneType)
    return all(o in leaves or typing.get_origin(o) is Callable for o in options)
