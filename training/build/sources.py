"""Read any number of sources into one table of cases, and find their image files."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from etils import epath

from processing.refusals import SUFFIXES
from training.build.isic import read_isic2019, read_isic2020
from training.build.milk10k import read_milk10k
from training.build.rules import name_other_kind
from training.data.cases import COLUMNS, Listing, make_cases, read_table, require
from training.data.kaggle import read_kaggle
from training.data.vocabulary import Target
from training.errors import TrainingError

_CSV_COLUMNS = [
    "image", "target", "source", "patient_id", "lesion_id", "sex", "age_approx", "anatom_site",
    "diagnosis", "modality", "skin_tone",
]  # fmt: skip
# Folders, and the extension of a kind of image that is read.
_NOT_THE_NAME = re.compile(rf"^.*/|({'|'.join(map(re.escape, SUFFIXES))})$", re.IGNORECASE)


class _Files(NamedTuple):
    """The paths of a folder's files, by name with and without extension."""

    images: Mapping[str, str]
    others: Mapping[str, str]  # of no kind that is read


def read_sources(
    target: Target,
    *,
    isic2019: Sequence[epath.Path] = (),
    isic2020: Sequence[epath.Path] = (),
    milk10k: Sequence[epath.Path] = (),
    csv: Sequence[epath.Path] = (),
    kaggle: Sequence[epath.Path] = (),
    with_images: bool = True,
) -> Listing:
    """Read any number of sources into one table of cases.

    Args:
        target: what counts as 1.
        isic2019, isic2020, milk10k: folders in ISIC's own layouts.
        csv: files for `read_csv_list`.
        kaggle: folders of public TFRecord sets.
        with_images: whether to look for the image files; if not, all count as present.

    Raises:
        TrainingError: a file, column or cell is missing or wrong, an image is listed twice, or
            none of a source's images exists.
    """
    listings = [
        *(Listing(read_isic2019(folder, target)) for folder in isic2019),
        *(Listing(read_isic2020(folder, target)) for folder in isic2020),
        *(read_milk10k(folder, target) for folder in milk10k),
        *(read_csv_list(path, target) for path in csv),
    ]
    tables = [listing.cases for listing in listings]
    warnings = [warning for listing in listings for warning in listing.warnings]
    if with_images:
        files = _list_folders(tables)
        tables = [_find_images(table, files) for table in tables]
        warnings += _warn_of_images(tables, files)
    for folder in kaggle:
        listing = read_kaggle(folder, target)
        tables.append(listing.cases)
        warnings += listing.warnings
    if not tables:
        raise TrainingError(
            "No images: give at least one --isic2019, --isic2020, --milk10k, --csv or --tfrecords."
        )
    cases = pd.concat(tables, ignore_index=True)[COLUMNS]
    _require_unique(cases)
    return Listing(cases, tuple(warnings))


def read_csv_list(path: epath.Path, target: Target) -> Listing:
    """Read a plain CSV file with `image`, `target` and any other column of `_CSV_COLUMNS`.

    `image` is a path relative to the file, with or without its extension. A missing `source` is
    the name of the file.

    Returns:
        The cases, before their images are looked for, and a warning about unknown columns.

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
        image_name=table["image"].str.replace(_NOT_THE_NAME, "", regex=True),
        path=table["image"].map(lambda image: str(path.parent / image)),
        source=table["source"].where(table["source"] != "", path.stem),
        **{column: table[column] for column in _CSV_COLUMNS[3:]},
    )
    # "other" says nothing of the target.
    has_diagnosis, expected = ~cases["diagnosis"].isin(["", "other"]), cases["target"]
    cases["target"] = targets.astype("int64").to_numpy()
    require(
        ~has_diagnosis | (cases["target"] == expected),
        targets,
        path,
        f"1 where the diagnosis is {' or '.join(sorted(target.diagnoses))} and 0 where it is "
        f"another, under the label {target.name!r}",
    )
    if not unknown:
        return Listing(cases)
    warning = (
        f"{path}, line 1: column {', '.join(unknown)} is not known and was not read. Possible: "
        f"{', '.join(_CSV_COLUMNS)}."
    )
    return Listing(cases, (warning,))


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


def _list_folders(tables: Sequence[pd.DataFrame]) -> dict[str, _Files]:
    """List the files of every folder that a case names."""
    folders = {os.path.split(path)[0] for table in tables for path in table["path"]}
    return {folder: _list_files(folder) for folder in sorted(folders)}


def _list_files(folder: str) -> _Files:
    """List a folder's files; none if it does not exist."""
    try:
        files = sorted((file.name, str(file)) for file in epath.Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return _Files({}, {})
    except OSError as error:
        raise TrainingError(f"{folder} cannot be listed: {error.strerror}.") from error
    images = {name: path for name, path in files if name.lower().endswith(SUFFIXES)}
    return _Files(_by_name(images), _by_name({k: v for k, v in files if k not in images}))


def _by_name(paths: dict[str, str]) -> dict[str, str]:
    """Add the names without extension, each for the first of its files."""
    stems = {name.rpartition(".")[0]: path for name, path in reversed(paths.items())}
    return {**stems, **paths}


def _find_images(table: pd.DataFrame, files: Mapping[str, _Files]) -> pd.DataFrame:
    """Set `present`, `path` to the real name of each file that exists, and `instead`."""
    listed = list(zip(table["path"], table["source"], strict=True))
    found = [_find_image(path, source, files) for path, source in listed]
    paths = [image or expected for (image, _), (expected, _) in zip(found, listed, strict=True)]
    return table.assign(
        path=paths,
        present=[image is not None for image, _ in found],
        instead=[other or "" for _, other in found],
    )


def _find_image(
    path: str, source: str, files: Mapping[str, _Files]
) -> tuple[str | None, str | None]:
    """Return the path of an image, else that of a file of another kind in its place."""
    folder, name = os.path.split(path)
    names = [name]
    if source in ("isic2019", "isic2020", "milk10k"):
        # ISIC's own downloader writes some extensions in capitals, and leaves out the suffix that
        # the challenge added to some names.
        stem = name.removesuffix(".jpg")
        names += [stem, stem.removesuffix("_downsampled")]
    images, others = files[folder]
    image = next((images[one] for one in names if one in images), None)
    if image:
        return image, None
    names.append(_NOT_THE_NAME.sub("", name))  # a list may name another extension
    return None, next((others[one] for one in names if one in others), None)


def _warn_of_images(tables: Sequence[pd.DataFrame], files: Mapping[str, _Files]) -> list[str]:
    """Warn of listed images without a file and of files that no list names.

    Raises:
        TrainingError: none of a source's images exists.
    """
    warnings = [_describe_absent(table) for table in tables if not table["present"].all()]
    images = {path for folder in files.values() for path in folder.images.values()}
    unlisted = sorted(images.difference(*(table["path"] for table in tables)))
    if unlisted:
        warnings.append(
            f"{unlisted[0]} is in no list, the first of {len(unlisted)} such images. They are left "
            "out: add rows for them, or remove them."
        )
    return warnings


def _describe_absent(table: pd.DataFrame) -> str:
    absent = table[~table["present"]]
    of_another_kind = absent["instead"] != ""
    # A file of another kind says more than one that is not there.
    first = absent.iloc[int(of_another_kind.argmax())]
    what, remedy = f"{first['path']} is absent", "download them"
    if of_another_kind.any():
        what += f" ({name_other_kind(first['instead'])})"
        remedy += f", convert the files of other kinds ({of_another_kind.sum()} of them)"
    if len(absent) == len(table):
        raise TrainingError(
            f"{first['listed']}: {what}, as is every other of the {len(table)} images listed "
            f"there. {remedy.capitalize()}, or correct the folder."
        )
    return (
        f"{first['listed']}: {what}, one of {len(absent)} of the {len(table)} images listed there. "
        f"They are left out: {remedy}, or remove their rows."
    )
