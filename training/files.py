"""Write files completely or not at all, on this machine or wherever TensorFlow can write."""

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
    """Yield a temporary path beside `path`, with its extension, and rename it to `path` afterwards.

    Raises:
        TrainingError: the disk is full; nothing of the file is left.
    """
    try:
        with files.replacing(path) as partial:
            yield partial
    except Exception as error:
        if is_full(error):
            raise TrainingError(
                f"{path}: the disk is full. Free some space and run the same command again; it "
                "resumes from what is complete."
            ) from error
        raise


def write_whole(path: Path | epath.Path, text: str) -> None:
    """Write a text file through a temporary one."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_full(error: Exception) -> bool:
    """Return whether an error means that a disk is full."""
    # TensorFlow raises an exception of its own, recognised by its text: importing it here is slow.
    return getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)
