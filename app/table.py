"""The rows of CSV tables, and the table of `python -m app classify`, which grows row by row.

The page's own CSV has the same columns and rows. On the command line each row is handed to the
system at once, so that what was classified stays when the process ends.
"""

import csv
import io
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, get_args

from app.answer import Answer, Reason
from processing.cells import guard_cell, release_cell
from processing.files import replacing

COLUMNS = (
    *("name", "verdict", "label", "probability", "lowest", "highest", "uncertain", "threshold"),
    *("modality", "reasons", "version"),
)

Row = dict[str, str]


class TableError(Exception):
    """The table cannot be written or continued; the text says why, and what to do."""


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


def format_rows(rows: Iterable[Row], *, header: bool = False) -> str:
    """Return rows as the table has them, if wanted below its first line."""
    text = io.StringIO(newline="")
    write = _start(text, [COLUMNS] if header else [])
    for row in rows:
        write(row)
    return text.getvalue()


def read_earlier(path: Path | None, *, resume: bool) -> list[list[str]]:
    """Read the whole rows of an earlier call's table, and make sure that it can be written.

    Args:
        path: None is standard output.
        resume: the table is to be continued.

    Raises:
        TableError: `path` holds another table, or is to be resumed.
        OSError: it cannot be written.
    """
    if path is None:
        return []
    is_new = not path.exists()
    if is_new or path.is_file():
        with path.open("a"):
            pass
    if is_new:
        path.unlink()  # there is no table yet; the model may turn out to be missing
        return []
    rows = _read_rows(path) if path.stat().st_size else []
    if rows and not resume:
        raise TableError(
            f"{path} exists already. Add --resume to classify only photos that it does not have, "
            "or name another file."
        )
    return rows


def require_same_way(path: Path, rows: list[list[str]], version: str, stability: bool) -> None:
    """Require that the rows are of this model, and with the same columns filled.

    Raises:
        TableError
    """
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


def keep_readable(rows: list[list[str]], photos: Collection[str]) -> list[list[str]]:
    """Leave out the rows of those of the named photos that could not be read."""
    return [row for row in rows if not (_find_name(row) in photos and _was_unreadable(row))]


def list_done(rows: list[list[str]]) -> dict[str, str]:
    """List the photos that have a row by their names, with their probabilities."""
    return {_find_name(row): row[COLUMNS.index("probability")] for row in rows}


def _find_name(row: list[str]) -> str:
    return release_cell(row[COLUMNS.index("name")])


def _was_unreadable(row: list[str]) -> bool:
    return not set(row[COLUMNS.index("reasons")].split()) <= set(get_args(Reason))


@contextmanager
def open_table(
    path: Path | None, earlier: list[list[str]] | None
) -> Iterator[Callable[[Row], None]]:
    """Open a table, and yield what writes a row; without `path`, it is standard output.

    Args:
        earlier: the rows of an earlier call that are kept; None for a new table.

    Raises:
        OSError: it cannot be written.
    """
    if path is None:
        yield _start(sys.stdout, [COLUMNS])
        return
    if earlier is not None:  # what follows the last whole row goes, and the others are never away
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            _start(file, [COLUMNS, *earlier])
    with path.open("w" if earlier is None else "a", encoding="utf-8", newline="") as file:
        yield _start(file, [COLUMNS] if earlier is None else [])


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
