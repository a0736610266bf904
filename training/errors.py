"""The one exception for errors that the user can fix, and the wording of such errors."""

import logging
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

_log = logging.getLogger(__name__)


class TrainingError(Exception):
    """An error that the user can fix.

    The message names the option, file, row or field, what is wrong with it, and the remedy.
    """


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Describe the first error in some settings: the key, the value received, what is accepted."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}. Received: {first['input']}"
    part = model
    for name in first["loc"][:-1]:
        annotation = part.model_fields[str(name)].annotation
        assert isinstance(annotation, type)
        part = annotation
    return f"{key}: no such key. Accepted: {', '.join(part.model_fields)}"


def list_differences(there: BaseModel, now: BaseModel) -> list[str]:
    """List the fields in which the settings of earlier work differ from those of now."""
    differing = []
    for name, value in now:
        earlier = getattr(there, name)
        if isinstance(value, BaseModel) and isinstance(earlier, BaseModel):
            differing += [f"{name}.{each}" for each in list_differences(earlier, value)]
        elif earlier != value:
            differing.append(f"{name} {earlier} there, {value} now")
    return differing


def warn(warnings: Sequence[str], strict: bool) -> tuple[str, ...]:
    """Log each warning, and return them.

    Raises:
        TrainingError: there are warnings, and `strict` makes them fatal.
    """
    if warnings and strict:
        raise TrainingError("--strict: " + "\n".join(warnings))
    for warning in warnings:
        _log.warning("Warning: %s", warning)
    return tuple(warnings)
