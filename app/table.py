"""The rows of CSV tables, and the table of `python -m app classify`, which grows row by row.

The page's own CSV has the same columns and rows. On the command line each row is handed to the
system at once, so that what was classified stays when the process ends.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from app.answer import Answer
from processing.cells import guard_cell, release_cell
from processing.files import replacing

COLUMNS = (
    *("name", "verdict", "label", "probability", "lowest", "highest", "uncertain", "threshold"),
    *("modality", "reasons", "version"),
)

Row = dict[str, str]


class TableError(Exception):
    """The table cannot be written or continued; the text says why, and what to do."""


class Table(NamedTuple):
    """An open table."""

    done: Mapping[str, str]  # names of the photos that it already has, with their probabilities
    write: Callable[[Row], None]


def make_row(name: str, answer: Answer, version: str) -> Row:
    """Return the row of a photo.

    One that cannot be judged has neither verdict nor label, but `reasons`. Its probability is
    given if the model was run, for evaluations of the model.
    """
    row = {"name": name, "version": version, "reasons": " ".join(answer.reasons)}
    row["modality"] = answer.modality or ""
    row["probability"] = "" if answer.probability is None else f"{answer.probability:.7f}"
    if answer.assessable:
        row |= {"verdict": answer.verdict or "", "label": answer.label or ""}
        row["threshold"] = f"{answer.threshold:.7f}"
    if answer.stability:
        low, high = answer.stability
        row |= {"lowest": f"{low:.7f}", "highest": f"{high:.7f}"}
        row["uncertain"] = "true" if answer.uncertain else "false"
    return row


def make_unreadable_row(name: str, sentence: str, version: str) -> Row:
    """Return the row of a photo that cannot be read; the sentence tells why, and what to do."""
    return {"name": name, "version": version, "reasons": sentence}


@contextmanager
def open_table(
    path: Path | None, *, resume: bool, version: str, stability: bool
) -> Iterator[Table]:
    """Open a new table, or that of an earlier call; without `path`, it is standard output.

    Args:
        resume: continue the table at `path`, if there is one, after its last whole row.
        version: of the model.
        stability: whether rows have the lowest and highest probability.

    Raises:
        TableError: `path` holds another table, or is to be resumed.
        OSError: it cannot be written.
    """
    if path is None:
        yield Table({}, _start(sys.stdout, [COLUMNS]))
        return
    rows = _read_rows(path) if path.exists() and path.stat().st_size else []
    if rows and not resume:
        raise TableError(
            f"{path} exists already. Add --resume to classify only photos that it does not have, "
            "or name another file."
        )
    _require_same(path, rows, version, stability)
    if rows:  # what follows the last whole row goes, and the others are never away
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            _start(file, [COLUMNS, *rows])
    with path.open("a" if rows else "w", encoding="utf-8", newline="") as file:
        at = COLUMNS.index("probability")
        done = {release_cell(row[0]): row[at] for row in rows}
        yield Table(done, _start(file, [] if rows else [COLUMNS]))


def _start(file: IO[str], rows: Iterable[Iterable[str]]) -> Callable[[Row], None]:
    """Write `rows` as they are; return what writes further ones."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows(rows)
    file.flush()

    def write(row: Row) -> None:
        writer.writerow(guard_cell(row.get(column, "")) for column in COLUMNS)
        file.flush()

    return write


def _read_rows(path: Path) -> list[list[str]]:
    """Read the whole rows of a table; the process that wrote it may have ended within the last."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets add a BOM
            lines = file.readlines()
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
        header, *rows = list(csv.reader(lines)) or [[]]
    except (ValueError, csv.Error):
        header, rows = [], []
    if rows and len(rows[-1]) < len(COLUMNS):
        rows.pop()
    if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise TableError(
            f"{path} is not a table of this command: its first line is not "
            f"{','.join(COLUMNS)}. Name another file."
        )
    return rows


def _require_same(path: Path, rows: list[list[str]], version: str, stability: bool) -> None:
    for cells in rows:
        row = dict(zip(COLUMNS, cells, strict=True))
        if row["version"] != version:
            raise TableError(
                f"{path} has rows of model {row['version']}, and this is model {version}. Name "
                "that model with --model, or another file."
            )
        if row["verdict"] and bool(row["lowest"]) != stability:
            raise TableError(
                f"{path} was written {'without' if stability else 'with'} --stability. Do the same "
                "to resume it, or name another file."
            )
