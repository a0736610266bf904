"""Files that are there whole or not at all, on this machine or wherever TensorFlow reads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from etils import epath

from processing import files
from training.errors import TrainingError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_Path = TypeVar("_Path", Path, epath.Path)


@contextmanager
def replacing(path: _Path) -> Iterator[_Path]:
    """A temporary path beside `path`, with its ending, that takes its place once written.

    Raises:
        TrainingError: the disk is full; nothing of the file stays.
    """
    try:
        with files.replacing(path) as partial:
            yield partial
    except Exception as error:
        if is_full(error):
            raise TrainingError(
                f"{path}: the disk is full. Free some space and give the same command again: it "
                "goes on from what is whole."
            ) from error
        raise


def write_whole(path: Path | epath.Path, text: str) -> None:
    """Write a text file by way of a temporary one."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full."""
    # TensorFlow has its own exception; only its text tells, and importing it here would be slow.
    return getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)
