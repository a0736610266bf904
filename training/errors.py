"""The one exception for errors that the user can fix, and warnings."""

import logging
from collections.abc import Sequence

from pydantic import BaseModel

_log = logging.getLogger(__name__)

# The remedy for a damaged shard. A complete folder is never built anew in place.
BUILD_AGAIN = "Build the data set again, in a new --out, or copy the shard from where it was built."


class TrainingError(Exception):
    """An error that the user can fix.

    The message names the option, file, row or field, what is wrong with it, and the remedy.
    """


def list_differences(there: BaseModel, now: BaseModel) -> list[str]:
    """List the fields in which the settings of earlier work differ from those of now."""
    differing = []
    for name, value in now:
        earlier = getattr(there, name)
        if isinstance(value, BaseModel) and isinstance(earlier, BaseModel):
            differing += [f"{name}.{each}" for each in list_differences(earlier, value)]
        elif earlier != value:
            differing.append(f"{name} {_show(earlier)} there, {_show(value)} now")
    return differing


def _show(value: object) -> object:
    return "given" if isinstance(value, BaseModel) else value  # not the whole of nested settings


def warn(warnings: Sequence[str], strict: bool) -> tuple[str, ...]:
    """Log each warning and return them all.

    Raises:
        TrainingError: there are warnings, and `strict` makes them fatal.
    """
    if warnings and strict:
        raise TrainingError("--strict: " + "\n".join(warnings))
    for warning in warnings:
        _log.warning("Warning: %s", warning)
    return tuple(warnings)
