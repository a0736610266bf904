"""The one exception for faults that the person at the command line can mend, and its words."""

import logging
from collections.abc import Sequence

from pydantic import BaseModel

_log = logging.getLogger(__name__)


class TrainingError(Exception):
    """The text names the option, file, row or field, what is wrong, and the remedy."""


def list_differences(there: BaseModel, now: BaseModel) -> list[str]:
    """Each field in which the settings of earlier work differ from those asked for now."""
    differing = []
    for name, value in now:
        earlier = getattr(there, name)
        if isinstance(value, BaseModel) and isinstance(earlier, BaseModel):
            differing += [f"{name}.{each}" for each in list_differences(earlier, value)]
        elif earlier != value:
            differing.append(f"{name} {earlier} there, {value} now")
    return differing


def warn(warnings: Sequence[str], strict: bool) -> tuple[str, ...]:
    """Log each warning, and give them.

    Raises:
        TrainingError: there are some, and `strict` makes them fatal.
    """
    if warnings and strict:
        raise TrainingError("--strict: " + "\n".join(warnings))
    for warning in warnings:
        _log.warning("Warning: %s", warning)
    return tuple(warnings)
