"""The one exception for faults that the person at the command line can mend, and its words."""

import logging
from collections.abc import Sequence

from pydantic import BaseModel

_log = logging.getLogger(__name__)


class TrainingError(Exception):
    """The text names the option, file, row or field, what is wrong, and the remedy."""


def list_differences(there: BaseModel, now: BaseModel) -> list[str]:
    """Each field in which the settings of earlier work differ from those asked for now."""
    return [
        f"{name} {getattr(there, name)} there, {value} now"
        for name, value in now
        if getattr(there, name) != value
    ]


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
