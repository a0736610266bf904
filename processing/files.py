"""Files and folders that appear complete or not at all: they are written beside, then renamed.

`locked` states that the caller holds a lock, so that no other process writes there. The temporary
name is then always the same, and what a killed process left is removed. Without a lock the
temporary name contains the process ID.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

PARTIAL = ".partial-"

# `etils.epath.Path`, which also reads gs://, has the same methods.
_Path = TypeVar("_Path", bound=Path)


@contextmanager
def replacing(path: _Path, *, locked: bool = False, sync: bool = False) -> Iterator[_Path]:
    """Yield a temporary path beside `path`, with the same suffix, which replaces `path` at the end.

    Args:
        locked: see above.
        sync: wait until the content is on the disk, so that it survives a power failure.
    """
    partial = _name_partial(path, locked)
    try:
        yield partial
        if sync:
            _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path, *, locked: bool = False, sync: bool = False) -> Iterator[Path]:
    """Yield a new folder, which becomes `folder` at the end.

    Args:
        locked: see above. An existing `folder` is replaced; without the lock that is an error.
        sync: as for `replacing`, for each file in the folder.
    """
    partial = _name_partial(folder, locked)
    for stale in folder.parent.glob(f"{PARTIAL}*") if locked else [partial]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
    partial.mkdir()
    try:
        yield partial
        if sync:
            for path in partial.iterdir():
                _sync(path)
        if locked and folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise


def _name_partial(path: _Path, locked: bool) -> _Path:
    return path.parent / f"{PARTIAL}{'' if locked else f'{os.getpid()}-'}{path.name}"


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def read_start(path: Path, size: int) -> bytes:
    """Read the first `size` bytes of a file, or all if it has fewer."""
    with path.open("rb") as file:
        return file.read(size)
