"""Write files completely or not at all, on this machine or wherever TensorFlow can write."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pandas as pd
from etils import epath
from filelock import FileLock, Timeout
from pandas.api.types import is_numeric_dtype

from processing import files
from processing.cells import guard_cell, release_cell
from training.errors import TrainingError

LOCK = ".lock"  # of the process that writes into a folder
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


def write_table(
    path: Path | epath.Path, table: pd.DataFrame, float_format: str | None = None
) -> None:
    """Write a CSV file through a temporary one, its text so that no spreadsheet runs any."""
    write_whole(path, _map_text(table, guard_cell).to_csv(index=False, float_format=float_format))


def release_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the cells of a file of `write_table` back into the text that was written."""
    return _map_text(table, release_cell)


def _map_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    changed = table.copy()
    for column in table.columns:
        if not is_numeric_dtype(table[column]):
            changed[column] = table[column].map(
                lambda cell: change(cell) if isinstance(cell, str) else cell
            )
    return changed


@contextmanager
def holding(folder: epath.Path) -> Iterator[None]:
    """Make a folder and keep every other process from writing there until the block ends.

    The operating system releases the lock of a process that is killed. Folders that are not on a
    disk, such as gs://, have no locks.

    Raises:
        TrainingError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "://" in os.fspath(folder):
        yield
        return
    lock = FileLock(Path(folder) / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{folder}: another build is at work there. Wait for its end, or choose another --out."
        ) from error
    try:
        yield
    finally:
        # Held, so that nobody relies on it. Windows deletes no open file.
        with suppress(PermissionError):
            (Path(folder) / LOCK).unlink(missing_ok=True)
        lock.release()


def is_full(error: Exception) -> bool:
    """Return whether an error means that a disk is full."""
    # TensorFlow raises an exception of its own, recognised by its text: importing it here is slow.
    return getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)
