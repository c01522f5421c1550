"""The one kind of error that a user can mend, and how it is shown."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """What was wrong, its value, and what to do; shown without a traceback."""


def require_positive(**settings: int | float) -> None:
    """Refuses a setting that is not above 0.

    Raises:
        UserError: at the first.
    """
    for name, value in settings.items():
        if not value > 0:
            raise UserError(f"{name} must be positive, got {value}")


@contextmanager
def explained() -> Iterator[None]:
    """Ends the program with a sentence where the user can mend the error, else with a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors on instead of printing them
    try:
        yield
    except Exception as error:
        if said := sentence(error):
            sys.exit(f"Error: {said}")
        raise


def sentence(error: Exception) -> str | None:
    """What is said of an error that the user can mend; None of any other."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        from nlg_distill.config import explain

        return explain(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error) if isinstance(error, UserError) else None


def described(error: Exception) -> str:
    """The sentence of an error that the user can mend; the kind and the text of any other."""
    return sentence(error) or ": ".join(filter(None, [type(error).__name__, str(error)]))
