"""Any number of sources -> one table of cases, and the image files that belong to it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from etils import epath

from training.build.isic import read_isic2019, read_isic2020
from training.data.cases import COLUMNS, make_cases, read_table, require
from training.data.kaggle import read_kaggle
from training.data.vocabulary import Target
from training.errors import TrainingError

_ENDINGS = (".jpg", ".jpeg", ".png")
_CSV_COLUMNS = [
    "image", "target", "source", "patient_id", "lesion_id", "sex", "age_approx", "anatom_site",
    "diagnosis",
]  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What the sources list.

    `cases` has one row per listed image: `image_name`, `path` (of an image inside a TFRecord file
    `FILE#BYTEOFFSET`), `source, patient_id, lesion_id, sex, age_approx, anatom_site, diagnosis`,
    `target` (0 or 1), `group` (the patient, else the lesion, else the image), `listed` (where its
    row stands) and `present` (whether its file is there). Missing text is "", a missing age NaN.
    """

    cases: pd.DataFrame
    warnings: tuple[str, ...]


def read_sources(
    isic2019: Sequence[epath.Path],
    isic2020: Sequence[epath.Path],
    csv: Sequence[epath.Path],
    kaggle: Sequence[epath.Path],
    target: Target,
    *,
    with_images: bool = True,
) -> Listing:
    """Read any number of sources into one table of cases.

    Args:
        isic2019, isic2020: folders in ISIC's own layouts.
        csv: files with `image`, a path beside the file, and `target`; see the README.
        kaggle: folders of public TFRecord sets.
        target: what counts as 1.
        with_images: whether to look for the image files; if not, all count as present.

    Raises:
        TrainingError: a file, column or cell is missing or wrong, an image is listed twice, or
            none of a source's images is there.
    """
    tables = [
        *(read_isic2019(folder, target) for folder in isic2019),
        *(read_isic2020(folder, target) for folder in isic2020),
    ]
    warnings: list[str] = []
    for path in csv:
        table, said = read_csv_list(path, target)
        tables.append(table)
        warnings += said
    if with_images:
        warnings += _find_images(tables)
    for folder in kaggle:
        table, said = read_kaggle(folder, target)
        tables.append(table)
        warnings += said
    if not tables:
        raise TrainingError(
            "No images: give at least one --isic2019, --isic2020, --csv or --tfrecords."
        )
    cases = pd.concat(tables, ignore_index=True)[COLUMNS]
    _require_unique(cases)
    return Listing(cases, tuple(warnings))


def read_csv_list(path: epath.Path, target: Target) -> tuple[pd.DataFrame, list[str]]:
    """Read a plain CSV file: `image,target` and any of the case's columns.

    `image` is a path relative to the file, with or without its ending. `source` is the file's name
    where it is not given.

    Returns:
        The table of cases; no image has been looked for. And a warning of columns not known.

    Raises:
        TrainingError: a column or cell is missing or wrong, or a target contradicts its diagnosis.
    """
    listed = read_table(path, ["image", "target"])
    unknown = [str(column) for column in listed if column not in _CSV_COLUMNS]
    table = listed.reindex(columns=_CSV_COLUMNS, fill_value="")
    targets = table["target"]
    require(targets.isin(["0", "1"]), targets, path, "0 or 1")
    cases = make_cases(
        path,
        target,
        image_name=table["image"].str.replace(r"^.*/|\.(jpe?g|png)$", "", regex=True, case=False),
        path=table["image"].map(lambda image: str(path.parent / image)),
        source=table["source"].where(table["source"] != "", path.stem),
        **{column: table[column] for column in _CSV_COLUMNS[3:]},
    )
    told, decided = cases["diagnosis"] != "", cases["target"]
    cases["target"] = targets.astype("int64").to_numpy()
    require(
        ~told | (cases["target"] == decided),
        targets,
        path,
        f"1 where the diagnosis is {' or '.join(sorted(target.diagnoses))} and 0 where it is "
        f"another, under the label {target.name!r}",
    )
    return cases, [
        f"{path}, line 1: column {', '.join(unknown)} is not known and was not read. Possible: "
        f"{', '.join(_CSV_COLUMNS)}."
    ] if unknown else []


def _require_unique(cases: pd.DataFrame) -> None:
    twice = cases[cases["image_name"].duplicated(keep=False)]
    if twice.empty:
        return
    conflicting = twice.groupby("image_name")["target"].transform("nunique") > 1
    worst = twice[conflicting].drop_duplicates(["image_name", "target"])
    worst = twice if worst.empty else worst
    name = worst["image_name"].iloc[0]
    one, other = worst[worst["image_name"] == name].to_dict("records")[:2]
    targets = f", with target {one['target']} there and {other['target']} here"
    raise TrainingError(
        f"{other['listed']}: {name} already stands in {one['listed']}"
        f"{targets if conflicting.any() else ''} ({twice['image_name'].nunique()} names stand "
        "twice). Remove one of its rows, or leave one source out."
    )


def _find_images(tables: list[pd.DataFrame]) -> list[str]:
    """Set `path`, with the file's real name, and `present` in each table; tell what is amiss."""
    folders: dict[str, dict[str, str]] = {}
    for table in tables:
        rows = list(zip(table["path"], table["source"], strict=True))
        found = [_find_image(path, source, folders) for path, source in rows]
        table["present"] = [path is not None for path in found]
        table["path"] = [path or asked for path, (asked, _) in zip(found, rows, strict=True)]
    warnings = [_describe_absent(table) for table in tables if not table["present"].all()]
    files = {path for paths in folders.values() for path in paths.values()}
    unlisted = sorted(files.difference(*(table["path"] for table in tables)))
    if unlisted:
        warnings.append(
            f"{unlisted[0]} is in no list, the first of {len(unlisted)} such images. They are left "
            "out: add rows for them, or remove them."
        )
    return warnings


def _describe_absent(table: pd.DataFrame) -> str:
    absent = table[~table["present"]]
    listed, path = absent[["listed", "path"]].iloc[0]
    if len(absent) == len(table):
        raise TrainingError(
            f"{listed}: {path} is absent, as is every other of the {len(table)} images listed "
            "there. Download them, or correct the folder."
        )
    return (
        f"{listed}: {path} is absent, the first of {len(absent)} of the {len(table)} images listed "
        "there. They are left out: download them, or remove their rows."
    )


def _find_image(path: str, source: str, folders: dict[str, dict[str, str]]) -> str | None:
    """The file that a row means by `path`. Each folder is listed once and kept in `folders`."""
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = _list_images(folder)
    names = [name]
    if source in ("isic2019", "isic2020"):
        # The archive's own downloader keeps an ending in capitals, and leaves out what the
        # challenge added to the name.
        stem = name.removesuffix(".jpg")
        names += [stem, stem.removesuffix("_downsampled")]
    return next((folders[folder][one] for one in names if one in folders[folder]), None)


def _list_images(folder: str) -> dict[str, str]:
    """Paths of a folder's images by name, with and without ending; none where it is absent."""
    try:
        files = sorted((file.name, str(file)) for file in epath.Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise TrainingError(f"{folder} cannot be listed: {error.strerror}.") from error
    paths = {name: path for name, path in files if name.lower().endswith(_ENDINGS)}
    stems = {name.rpartition(".")[0]: path for name, path in reversed(paths.items())}
    return stems | paths
