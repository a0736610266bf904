"""What a process that handles what strangers sent gets of the environment: no keys or passwords."""

import os

_PASSED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")


def select_environment(*more: str) -> dict[str, str]:
    """Return the variables that Python needs to start, and `more`, as far as they are set."""
    return {name: os.environ[name] for name in (*_PASSED, *more) if name in os.environ}
