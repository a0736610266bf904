"""Files and folders that are there whole or not at all: written beside their place, then renamed.

`locked` states that the caller holds a lock, so that no other process writes there. The temporary
name is then the same each time, and what a killed process left is removed. Without a lock the
temporary name contains the number of the process.
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
    """Yield a temporary path beside `path`, with its ending; it replaces `path` once written.

    Args:
        locked: see above.
        sync: wait until the disk has the content, so that it outlives a power failure.
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
    """Yield a new folder that takes the place of `folder` once filled.

    Args:
        locked: see above. A `folder` that exists is replaced; without the lock that fails.
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
