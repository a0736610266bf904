"""Classify many photos on the command line: `python -m app classify PATH…`."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from app.admission import BusyError
from app.answer import Answer
from app.batch import (
    NO_DECODER,
    STANDARD_INPUT,
    Found,
    answer_files,
    count_cores,
    find_photos,
    tabulate,
)
from app.classifier import Classifier
from app.dicom import REMEDY, can_read_dicom
from app.openapi import VERSION
from app.progress import show_progress
from app.service import open_bundle
from app.table import (
    TableError,
    keep_readable,
    list_done,
    open_table,
    read_earlier,
    require_same_way,
)
from config.settings import SettingsError, read_settings
from processing.beam import MISSING, runner_options
from processing.bundle import BundleError
from processing.decoding.decoder import Decoder
from processing.refusals import SUFFIXES
from processing.store.base import StoreError

_INTERRUPTED = 130  # as shells report it
_SAME = 1e-3  # by which a probability may differ on another processor


@click.group()
@click.version_option(VERSION, prog_name="melanoma-check")
def main() -> None:
    """The melanoma classifier on the command line."""


class _PathOrAddress(click.Path):
    """A path of this machine, or an address in a store, gs://BUCKET/NAME, which stays a text."""

    def convert(self, value: Any, *context: Any) -> Any:
        return value if "://" in str(value) else super().convert(value, *context)


@main.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH…",
    type=_PathOrAddress(exists=True, allow_dash=True, path_type=Path),
)
@click.option(
    "csv_path",
    "--csv",
    metavar="FILE",
    type=_PathOrAddress(dir_okay=False, writable=True, path_type=Path),
    help="Write the table to FILE instead of printing it.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the FILE of --csv: skip the photos that it has, and try again those that could "
    "not be read.",
)
@click.option(
    "--model",
    metavar="BUNDLE_OR_STORE",
    help="Folder or s3://BUCKET/PREFIX. [default: the embedded model]",
)
@click.option(
    "--stability",
    is_flag=True,
    help="Also classify all eight orientations: fills the columns lowest, highest and uncertain.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Classify N photos at a time. [default: one for each core]",
)
@runner_options
def classify(
    paths: tuple[Path, ...],
    csv_path: Path | None,
    resume: bool,
    model: str | None,
    stability: bool,
    jobs: int | None,
    runner: str | None,
    runner_option: tuple[str, ...],
) -> None:
    """Classify photos, and the photos in folders and their subfolders, as the web page does.

    The PATH - is a photo from standard input. Rows come in the order of the photos, each as soon as
    it is known. A photo that cannot be judged has no verdict; the column reasons explains why. Its
    probability is still given if the model was run, for evaluations of the model.

    With --runner, the table is written once all photos are classified. If that is interrupted, run
    the same command again; it resumes.
    """
    if runner_option and not runner:
        raise click.UsageError("--runner-option needs --runner.")
    for path in (*paths, csv_path):
        if isinstance(path, str) and not runner:
            raise click.UsageError(f"{path} is not on this machine. Only --runner reaches it.")
    if isinstance(csv_path, Path) and not csv_path.parent.is_dir():
        raise click.ClickException(f"--csv {csv_path}: the folder {csv_path.parent} is missing.")
    if isinstance(csv_path, Path) and os.path.islink(csv_path):  # noqa: PTH114  (never raises)
        csv_path = csv_path.resolve()  # replacing the table must not replace the link
    if runner:
        _classify_on_beam(paths, csv_path, resume, model, stability, jobs, runner, runner_option)
        return
    if resume and not csv_path:
        raise click.UsageError("--resume needs the FILE to continue: --csv FILE.")
    found = _find_photos(paths)
    try:
        earlier = read_earlier(csv_path, resume=resume)
    except TableError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise _refuse_target(csv_path, error) from error
    try:
        bundle = open_bundle(model, read_settings().model_cache)
        jobs = min(jobs or count_cores(), len(found.photos))
        with ThreadPoolExecutor(jobs) as pool:
            load = partial(Classifier, threads=1)
            classifiers = list(pool.map(load, [bundle] * jobs))
    except (StoreError, BundleError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    version = bundle.manifest.version
    written = unreadable = 0
    try:
        if csv_path:
            require_same_way(csv_path, earlier, version, stability)
        kept = keep_readable(earlier, {name for name, _ in found.photos})
        done = list_done(kept)
        photos = [photo for photo in found.photos if photo[0] not in done]
        with Decoder(children=jobs) as decoder:
            run = partial(answer_files, decoder=decoder, classifiers=classifiers)
            _require_same_photos(found.photos, done, run)
            with open_table(csv_path, kept if earlier else None) as write:
                answers = run((file for _, file in photos), stability=stability)
                shown = show_progress(answers, len(photos))
                for (name, _), answer in zip(photos, shown, strict=True):
                    write(tabulate(name, answer, version))
                    unreadable += not isinstance(answer, Answer)
                    written += 1
    except KeyboardInterrupt:
        remedy = f" --csv {csv_path} --resume continues." if csv_path else ""
        click.echo(f"\nStopped: {written} photos were classified.{remedy}", err=True)
        sys.exit(_INTERRUPTED)
    except TableError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise  # click knows what to do where the reader of the output is gone
        raise _refuse_target(csv_path, error) from error
    except BusyError as error:
        raise click.ClickException(NO_DECODER) from error
    if skipped := len(found.photos) - len(photos):
        click.echo(f"{skipped} photos were in {csv_path} already.", err=True)
    if retried := len(earlier) - len(kept):
        click.echo(f"{retried} photos that could not be read before were tried again.", err=True)
    _conclude(found, len(photos), unreadable)


def _find_photos(paths: Sequence[Path]) -> Found:
    found = find_photos(paths)
    if not found.photos:
        raise click.ClickException(
            f"No photos ({', '.join(sorted(SUFFIXES))} or DICOM files) were found."
        )
    if found.dicom and not can_read_dicom():
        raise click.ClickException(f"{found.dicom} of the photos are DICOM files. {REMEDY}")
    return found


def _conclude(found: Found, classified: int, unreadable: int) -> None:
    if found.skipped:
        click.echo(f"{found.skipped} files were skipped: they are not photos.", err=True)
    if unreadable:
        raise click.ClickException(
            f"{unreadable} of {classified} photos could not be read; see the column reasons."
        )


def _classify_on_beam(
    paths: Sequence[Path | str],
    table: Path | str | None,
    resume: bool,
    model: str | None,
    stability: bool,
    jobs: int | None,
    runner: str,
    options: Sequence[str],
) -> None:
    if resume:
        raise click.UsageError(
            "--resume is for calls without --runner: with it, the same command resumes by itself."
        )
    if jobs:
        raise click.UsageError("--jobs is for calls without --runner, which has its own options.")
    if STANDARD_INPUT in paths:
        raise click.UsageError("--runner cannot read standard input. Give files or folders.")
    if table is None:
        raise click.UsageError("--runner needs --csv FILE, where all its workers can write.")
    try:
        # Imported here: what it needs is not installed where the app serves.
        from app.beam import BeamError, classify_on_beam, open_path, store_faults_explained
    except ImportError as error:
        raise click.ClickException(MISSING) from error
    try:
        with store_faults_explained():
            if open_path(table).exists():
                raise BeamError(f"{table} exists already. Name another file.")
            opened = [open_path(path) for path in paths]
            for path in opened:
                if not path.exists():
                    raise BeamError(f"{path} does not exist.")
            found = _find_photos(opened)
            unreadable = classify_on_beam(
                found.photos,
                table,
                model=model,
                version=open_bundle(model, read_settings().model_cache).manifest.version,
                stability=stability,
                runner=runner,
                options=options,
            )
    except KeyboardInterrupt:
        click.echo("\nStopped. The same command continues.", err=True)
        sys.exit(_INTERRUPTED)
    except (BeamError, StoreError, BundleError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or table
        raise click.ClickException(f"{place}: {error.strerror or error}.") from error
    _conclude(found, len(found.photos), unreadable)


def _refuse_target(csv_path: Path | None, error: OSError) -> click.ClickException:
    target = csv_path or "Standard output"
    return click.ClickException(f"{target} cannot be written: {error.strerror}.")


def _require_same_photos(
    photos: Sequence[tuple[str, Path]],
    done: Mapping[str, str],
    answer_files: Callable[..., Iterable[Answer | Exception]],
) -> None:
    """Classify one of the photos that a table has again: other folders have the same names.

    Raises:
        TableError: it has another probability now.
    """
    for name, file in photos:
        if done.get(name):
            (answer,) = answer_files([file], stability=False)
            now = answer.probability if isinstance(answer, Answer) else None
            if now is None or abs(now - float(done[name])) > _SAME:
                raise TableError(
                    f"The table has another probability for {name} than this photo has: its rows "
                    "are of other photos. Use one table for each folder."
                )
            return
