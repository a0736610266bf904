"""Many photos: found in folders, read, and classified on all cores at once."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from app.answer import Answer, answer_photo
from app.classifier import Classifier
from app.dicom import HEAD_BYTES, extract_photo, is_dicom
from app.table import Row, make_row, make_unreadable_row
from processing.decoding.decoder import SERVING, Decoder
from processing.files import read_start
from processing.refusals import SUFFIXES, ImageError, TooMuchMemoryError

STANDARD_INPUT = Path("-")
NO_DECODER = "No process that decodes photos can be started."
MAX_BYTES = SERVING.max_bytes  # of a file; its decoder would not take more
_AHEAD = 4  # photos for each core whose results may wait for that of an earlier one

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Found(NamedTuple):
    """The photos in some folders."""

    photos: list[tuple[str, Path]]  # what names the photo in the table, and its file
    skipped: int  # number of files that are no photos
    dicom: int  # number of photos that are DICOM files


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_photos(paths: Sequence[Path]) -> Found:
    """Find the photos in `paths`, and those in folders and their subfolders.

    A name is relative to the folder if a single folder was given, else it begins with the path as
    given. In folders, photos are known by their suffix, and DICOM files by their first bytes.
    """
    photos, skipped, dicom = [], 0, 0
    for path in paths:
        if path == STANDARD_INPUT:
            photos.append(("stdin", path))
            continue
        folder = path.is_dir()
        files = _list_files(path) if folder else [path]
        for file in files:
            if file.suffix.lower() not in SUFFIXES:
                of_dicom = _is_dicom_file(file)
                dicom += of_dicom
                if folder and not of_dicom:
                    skipped += 1
                    continue
            name = file.relative_to(path) if folder and len(paths) == 1 else file
            # A name on a disk may be no text: it is then written with escapes.
            photos.append((name.as_posix().encode(errors="backslashreplace").decode(), file))
    return Found(photos, skipped, dicom)


def _list_files(folder: Path) -> list[Path]:
    if isinstance(folder, Path):
        return sorted(file for file in folder.rglob("*") if file.is_file())
    return sorted(below / name for below, _, names in folder.walk() for name in names)


def _read_start(path: Path, size: int) -> bytes:
    """Read the first `size` bytes of a file, of this machine or of a store.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return read_start(path, size)
    except OSError:
        raise
    except Exception as error:  # TensorFlow's own, of a store
        raise OSError(str(error)) from error


def _is_dicom_file(path: Path) -> bool:
    try:
        return is_dicom(_read_start(path, HEAD_BYTES))
    except OSError:  # told when the photo is read, if it was named
        return False


def read_photo(path: Path) -> bytes:
    """Read a photo from a file, or from standard input; of a DICOM file, the photo within.

    Raises:
        ImageError: the file is too large, or a DICOM file without a photo that can be read.
        OSError: it cannot be read.
    """
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        data = _read_start(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooMuchMemoryError
    return extract_photo(data) if is_dicom(data) else data


def explain(error: ImageError | OSError) -> str:
    """Return the sentence that says why a photo cannot be read; never where it lies."""
    if isinstance(error, ImageError):
        return str(error)
    return f"The file cannot be read: {error.strerror or error}."


def tabulate(name: str, answer: Answer | ImageError | OSError, version: str) -> Row:
    """Return the row of a photo in the table."""
    if isinstance(answer, Answer):
        return make_row(name, answer, version)
    return make_unreadable_row(name, explain(answer), version)


def answer_files(
    paths: Iterable[Path],
    decoder: Decoder,
    classifiers: Sequence[Classifier],
    *,
    stability: bool,
) -> Iterator[Answer | ImageError | OSError]:
    """Classify photos, as many at a time as there are `classifiers`; yield the results in order.

    Raises:
        BusyError: no process that decodes can be started.
    """
    free: SimpleQueue[Classifier] = SimpleQueue()
    for classifier in classifiers:
        free.put(classifier)

    def answer(path: Path) -> Answer | ImageError | OSError:
        classifier = free.get()
        try:
            return answer_photo(read_photo(path), decoder, classifier, stability=stability)
        except (ImageError, OSError) as error:
            return error
        finally:
            free.put(classifier)

    return _map_in_order(answer, paths, len(classifiers))


def _map_in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> Iterator[_Result]:
    """Yield `function` of each item in order; it runs in `threads`, little ahead of the caller."""
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
