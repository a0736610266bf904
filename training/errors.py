"""The one exception for faults that the person at the command line can mend."""


class TrainingError(Exception):
    """The text names the option, file, row or field, what is wrong, and the remedy."""
