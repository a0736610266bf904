"""The one exception for faults that the person at the command line can mend, and its words."""

from pydantic import BaseModel


class TrainingError(Exception):
    """The text names the option, file, row or field, what is wrong, and the remedy."""


def list_differences(there: BaseModel, now: BaseModel) -> list[str]:
    """Each field in which the settings of earlier work differ from those asked for now."""
    return [
        f"{name} {getattr(there, name)} there, {value} now"
        for name, value in now
        if getattr(there, name) != value
    ]
