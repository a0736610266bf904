"""Classify many photos on the command line: `python -m app classify PATH…`."""

import contextlib
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from app.answer import answer_photo
from app.classifier import Classifier
from app.service import open_bundle
from config.settings import SettingsError, read_settings
from processing.bundle import BundleError
from processing.cells import guard_cell
from processing.decoding.decoder import Decoder
from processing.files import replacing
from processing.refusals import SUFFIXES, ImageError
from processing.store.base import StoreError

COLUMNS = ("image", "probability", "label", "assessable", "reasons")
STABILITY_COLUMNS = ("lowest", "highest", "uncertain")


@click.group()
def main() -> None:
    """The melanoma classifier on the command line."""


@main.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "csv_path",
    "--csv",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the table to FILE instead of printing it.",
)
@click.option(
    "--model",
    metavar="BUNDLE_OR_STORE",
    help="Folder or s3://BUCKET/PREFIX. [default: the embedded model]",
)
@click.option(
    "--stability",
    is_flag=True,
    help="Also classify all eight orientations; adds the columns lowest, highest and uncertain.",
)
def classify(
    paths: tuple[Path, ...], csv_path: Path | None, model: str | None, stability: bool
) -> None:
    """Classify photos, and the photos in folders and their subfolders, as the web page does.

    A photo that cannot be judged has no label; the column reasons explains why. Its probability is
    still given if the model was run, for evaluations of the model.
    """
    if csv_path and not csv_path.parent.is_dir():
        raise click.ClickException(f"--csv {csv_path}: the folder {csv_path.parent} is missing.")
    photos, skipped = _find_photos(paths)
    if not photos:
        raise click.ClickException(f"No photos ({', '.join(sorted(SUFFIXES))}) were found.")
    try:
        bundle = open_bundle(model, read_settings().model_cache)
        classifier = Classifier(bundle, threads=os.cpu_count() or 1)
    except (StoreError, BundleError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    unreadable = 0
    with _open_table(csv_path) as table, Decoder() as decoder:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS + (STABILITY_COLUMNS if stability else ()))
        with click.progressbar(photos, label="Classifying", file=sys.stderr) as bar:
            for name, path in bar:
                try:
                    writer.writerow(_classify_file(name, path, decoder, classifier, stability))
                except (ImageError, OSError) as error:
                    unreadable += 1
                    writer.writerow((guard_cell(name), "", "", "false", str(error)))
    if skipped:
        click.echo(f"{skipped} files were skipped: by their suffix they are not photos.", err=True)
    if unreadable:
        raise click.ClickException(
            f"{unreadable} of {len(photos)} photos could not be read; see the column reasons."
        )


def _find_photos(paths: tuple[Path, ...]) -> tuple[list[tuple[str, Path]], int]:
    """Find the photos in `paths`.

    Returns:
        (value of the column image, file) of each photo, and the number of other files. The value is
        relative to the folder if a single folder was given, else it begins with the path as given.
    """
    photos, skipped = [], 0
    for path in paths:
        folder = path.is_dir()
        files = sorted(file for file in path.rglob("*") if file.is_file()) if folder else [path]
        for file in files:
            if folder and file.suffix.lower() not in SUFFIXES:
                skipped += 1
                continue
            name = file.relative_to(path) if folder and len(paths) == 1 else file
            photos.append((name.as_posix(), file))
    return photos, skipped


def _classify_file(
    name: str, path: Path, decoder: Decoder, classifier: Classifier, stability: bool
) -> list[str]:
    answer = answer_photo(path.read_bytes(), decoder, classifier, stability=stability)
    probability = "" if answer.probability is None else f"{answer.probability:.7f}"
    reasons = "; ".join(answer.reasons)
    row = [
        guard_cell(name),
        probability,
        answer.label or "",
        _format_bool(answer.assessable),
        reasons,
    ]
    if stability:
        if answer.stability is None:
            return [*row, "", "", ""]
        low, high = answer.stability
        row += [f"{low:.7f}", f"{high:.7f}", _format_bool(answer.uncertain)]
    return row


def _format_bool(value: bool) -> str:
    return "true" if value else "false"


@contextlib.contextmanager
def _open_table(path: Path | None) -> Iterator[IO[str]]:
    """Open standard output, or `path`, which is written completely or not at all."""
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


if __name__ == "__main__":
    main(prog_name="python -m app")
