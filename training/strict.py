"""The base class of settings, and of what commands write as JSON."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Values that are checked once, when they are read, and then never change.

    An unknown key is an error: in a file that a person wrote it is most likely misspelt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
