"""Many photos on Apache Beam: `python -m app classify --runner`, on any number of machines.

The photos are divided into parts, and each part becomes a file beside the table. The table is put
together from these files once all are there, and an interrupted command continues from them.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
from etils import epath

from app.admission import BusyError
from app.answer import Answer
from app.batch import NO_DECODER, answer_files, count_cores, explain, tabulate
from app.classifier import Classifier
from app.progress import show_progress
from app.service import open_bundle
from app.table import format_rows
from config.settings import SettingsError, read_settings
from processing.beam import run_on_beam
from processing.bundle import BundleError
from processing.decoding.decoder import share_decoder
from processing.files import replacing
from processing.store.base import StoreError

PART_PHOTOS = 64  # some seconds of work, which is lost when a machine is


class BeamError(Exception):
    """The photos cannot be classified on Beam; the text says why, and what to do."""


class Part(NamedTuple):
    """Some photos to classify, and the file to write."""

    names: tuple[str, ...]  # in the table
    paths: tuple[str, ...]
    model: str | None  # as `open_bundle` takes it
    version: str  # of the model
    stability: bool
    output: str  # its first line is the number of unreadable photos; rows of the table follow

    @property
    def images(self) -> int:
        """The number of its photos."""
        return len(self.names)


@contextmanager
def store_faults_explained() -> Iterator[None]:
    """Turn the exceptions of TensorFlow, which reaches stores, into a `BeamError`."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("tensorflow."):  # not imported where no store is used
            raise BeamError(f"The store cannot be used: {error}") from error
        raise


def open_path(path: Path | str) -> Path:
    """Return the path of a file or folder, of this machine or of a store such as gs://BUCKET."""
    opened: Path = epath.Path(path) if "://" in str(path) else Path(path)
    return opened


def classify_on_beam(
    photos: Sequence[tuple[str, Path]],
    table: Path | str,
    *,
    model: str | None,
    version: str,
    stability: bool,
    runner: str,
    options: Sequence[str],
) -> int:
    """Classify photos on Apache Beam and write their table, whole or not at all.

    Args:
        photos: what names each in the table, and its file.
        table: the CSV file, which is replaced; all workers have to reach its folder.
        model: a bundle or store that all workers reach; None is the embedded one.
        version: of the model.
        runner, options: as for `run_on_beam`.

    Returns:
        The number of photos that could not be read.

    Raises:
        BeamError: Beam is missing or rejects an option, a worker has no or another model, or the
            store cannot be used.
        OSError: a file cannot be written.
    """
    target = epath.Path(table.absolute() if isinstance(table, Path) else table)
    folder = target.parent / f".parts-{target.name}"
    if model and "://" not in model:
        model = str(Path(model).absolute())
    parts = list(_divide(photos, folder, model=model, version=version, stability=stability))
    folder.mkdir(exist_ok=True)
    try:
        there = {str(path) for path in folder.iterdir()}
        missing = [part for part in parts if part.output not in there]
        left = sum(part.images for part in missing)
        if left < len(photos):
            click.echo(f"{len(photos) - left} photos had been classified before.", err=True)
        if missing:
            with closing(show_progress(range(left), left)) as shown:
                run_on_beam(
                    classify_part,
                    missing,
                    lambda images: list(islice(shown, images)),
                    runner=runner,
                    options=options,
                    fault=BeamError,
                )
        unreadable = 0
        with replacing(target) as partial, partial.open("wb") as file:
            file.write(format_rows([], header=True).encode())
            for part in parts:
                count, _, rows = epath.Path(part.output).read_bytes().partition(b"\n")
                unreadable += int(count)
                file.write(rows)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    folder.rmtree()
    return unreadable


def _divide(
    photos: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    model: str | None,
    version: str,
    stability: bool,
) -> Iterator[Part]:
    """Divide the photos into parts, whose files have other names where anything differs."""
    for start in range(0, len(photos), PART_PHOTOS):
        some = photos[start : start + PART_PHOTOS]
        names = tuple(name for name, _ in some)
        paths = tuple(str(file.absolute() if isinstance(file, Path) else file) for _, file in some)
        content = (names, paths, version, stability, [_describe(file) for _, file in some])
        digest = hashlib.sha256(ascii(content).encode()).hexdigest()
        output = str(folder / f"{start:09}-{digest[:16]}")
        yield Part(names, paths, model, version, stability, output)


def _describe(file: Path) -> tuple[int, int] | None:
    """Return size and time of a file; not of one in a store, where each question takes long."""
    if not isinstance(file, Path):
        return None
    try:
        status = file.stat()
    except OSError:  # told when the photo is read
        return None
    return status.st_size, status.st_mtime_ns


def classify_part(part: Part) -> int:
    """Classify the photos of `part` as on one machine, and write its file; this runs in a worker.

    Returns:
        The number of its photos.

    Raises:
        BeamError: the worker has no or another model, starts no process that decodes, cannot
            write, or cannot read from a store.
    """
    try:
        classifier = _load_classifier(part.model, part.version)
        paths = [open_path(path) for path in part.paths]
        answers = list(
            answer_files(
                paths, share_decoder(count_cores()), [classifier], stability=part.stability
            )
        )
    except (StoreError, BundleError, SettingsError) as error:
        raise BeamError(str(error)) from error
    except BusyError as error:
        raise BeamError(NO_DECODER) from error
    unreadable = 0
    rows = []
    for name, path, answer in zip(part.names, paths, answers, strict=True):
        if isinstance(answer, OSError) and not isinstance(path, Path):
            # A store that is away for a while: the runner, or the same command, tries again.
            raise BeamError(f"{path}: {explain(answer)}")
        rows.append(tabulate(name, answer, part.version))
        unreadable += not isinstance(answer, Answer)
    try:
        with store_faults_explained(), replacing(epath.Path(part.output)) as partial:
            partial.write_bytes(f"{unreadable}\n{format_rows(rows)}".encode())
    except OSError as error:
        raise BeamError(f"{part.output} cannot be written: {error.strerror or error}.") from error
    return part.images


@functools.cache
def _load_classifier(model: str | None, version: str) -> Classifier:
    """Return the model of this process; several threads may share it."""
    classifier = Classifier(open_bundle(model, read_settings().model_cache), threads=1)
    found = classifier.manifest.version
    if found != version:
        raise BeamError(
            f"A worker has model {found}, and the table is of model {version}. Give all machines "
            "the same, or name a bundle's folder that all reach with --model."
        )
    return classifier
