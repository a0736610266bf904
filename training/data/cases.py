"""The table of cases: one row per image, with cells checked and in a common vocabulary."""

import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath

from training.data.vocabulary import DIAGNOSES, MODALITIES, SEXES, SITES, SKIN_TONES, Target
from training.errors import TrainingError

COLUMNS = [
    "image_name", "path", "source", "patient_id", "lesion_id", "sex", "age_approx", "anatom_site",
    "diagnosis", "modality", "skin_tone", "target", "group", "listed", "present", "instead",
]  # fmt: skip
_DIAGNOSES = {diagnosis: diagnosis for diagnosis in DIAGNOSES} | {"unknown": ""}
_SEXES = {sex: sex for sex in SEXES}
_MODALITIES: dict[str, str] = {modality: modality for modality in MODALITIES}
_SKIN_TONES = {tone: tone for tone in SKIN_TONES}
# ISIC 2020 does not divide the torso.
_SITES = {site: site for site in SITES} | {
    "anterior torso": "torso",
    "posterior torso": "torso",
    "lateral torso": "torso",
}


class Listing(NamedTuple):
    """The images that one or more sources list, and warnings about them.

    `cases` has one row per listed image: `image_name`, `path` (`FILE#BYTEOFFSET` for an image in a
    TFRecord file), `source, patient_id, lesion_id, sex, age_approx, anatom_site, diagnosis`,
    `modality` (dermoscopic or close-up), `skin_tone` ("0", very dark, to "5", very light),
    `target` (0 or 1), `group` (the patient, else the lesion, else the image), `listed` (file and
    line of the row), `present` (whether the image file exists) and `instead` (the file of another
    kind that lies in its place). Missing text is "", a missing age NaN.
    """

    cases: pd.DataFrame
    warnings: tuple[str, ...] = ()


def read_table(path: epath.Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV file like `read_cells`, and require some columns and at least one row.

    Raises:
        TrainingError: the file is not CSV, one of `columns` is missing, or there are no rows.
    """
    table = read_cells(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise TrainingError(
            f"{path}: column {', '.join(missing)} is missing. Found: {', '.join(table.columns)}"
        )
    if table.empty:
        raise TrainingError(f"{path} has no rows.")
    return table


def read_cells(path: epath.Path) -> pd.DataFrame:
    """Read a CSV file as text; a missing cell is "", and the index is the line in the file.

    Raises:
        TrainingError: the file is not CSV.
    """
    try:
        file = io.BytesIO(path.read_bytes())
        table = pd.read_csv(file, dtype=str, na_filter=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as CSV: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first column as row names
        raise TrainingError(f"{path}, line 2 has more cells than line 1 has columns.")
    table.index = pd.RangeIndex(2, len(table) + 2)  # the header is line 1
    return table[(table != "").any(axis=1)]


def make_cases(file: epath.Path, target: Target, **columns: pd.Series) -> pd.DataFrame:
    """Check the columns of one CSV file and translate them into `COLUMNS`.

    Args:
        file: the CSV file, for messages.
        target: which diagnoses count as 1.
        columns: `image_name, path, source, patient_id, lesion_id, sex, age_approx, anatom_site,
            diagnosis` as text and, where the file has them, `modality, skin_tone`. The index is the
            line in `file`, and the name of each series is the column's name in `file`.

    Raises:
        TrainingError: a cell is not in the vocabulary, an age is not a number, or a name is empty.
    """
    names, patients, lesions = (columns[key] for key in ("image_name", "patient_id", "lesion_id"))
    require(names != "", names, file, "the name of an image")
    absent = pd.Series("", names.index)
    cases = pd.DataFrame(columns).assign(
        sex=_translate(columns["sex"], _SEXES, file),
        age_approx=_parse_ages(columns["age_approx"], file),
        anatom_site=_translate(columns["anatom_site"], _SITES, file),
        diagnosis=_translate(columns["diagnosis"], _DIAGNOSES, file),
        modality=_translate(columns.get("modality", absent), _MODALITIES, file),
        skin_tone=_translate(columns.get("skin_tone", absent), _SKIN_TONES, file),
        target=lambda cases: cases["diagnosis"].isin(target.diagnoses).astype("int64"),
        group=np.where(patients != "", patients, np.where(lesions != "", lesions, names)),
        listed=name_lines(file, names.index),
        present=True,
        instead="",
    )
    return cases[COLUMNS].reset_index(drop=True)


def name_lines(path: epath.Path, lines: pd.Index) -> list[str]:
    """Describe where each row stands: file and line."""
    return [f"{path}, line {line}" for line in lines]


def require(good: pd.Series, values: pd.Series, path: epath.Path, expected: str) -> None:
    """Check that all values are good.

    Args:
        good: which of `values` are.
        values: a column of `path`; the index is the line in there.
        expected: what a good value is, for the message.

    Raises:
        TrainingError: a value is not good. The message names the first one.
    """
    bad = values[~good.to_numpy()]
    if len(bad):
        raise TrainingError(
            f"{path}, line {bad.index[0]}: {values.name} {bad.iloc[0]!r} should be {expected} "
            f"({len(bad)} such rows)."
        )


def decode_one_hot(
    truth: pd.DataFrame, path: epath.Path, diagnoses: Mapping[str, str]
) -> list[str]:
    """Read the diagnosis of each row of a ground truth with one column of 0 and 1 for each class.

    Args:
        truth: the rows of `path`; the index is the line in there.
        diagnoses: the diagnosis that each column stands for.

    Raises:
        TrainingError: a row does not have exactly one 1.
    """
    codes = list(diagnoses)
    marks = truth[codes].apply(pd.to_numeric, errors="coerce")
    good = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    shown = truth[codes[0]].str.cat(truth[codes[1:]], sep=",").rename("diagnosis")
    require(good, shown, path, f"one 1 among {','.join(codes)}, the others 0")
    return [diagnoses[code] for code in marks.idxmax(axis=1)]


def _translate(values: pd.Series, vocabulary: dict[str, str], path: epath.Path) -> pd.Series:
    translated = values.map(vocabulary | {"": ""})
    require(translated.notna(), values, path, f"one of {', '.join(vocabulary)} or empty")
    return translated


def _parse_ages(values: pd.Series, path: epath.Path) -> pd.Series:
    ages = pd.to_numeric(values, errors="coerce").astype("float64")
    require((values == "") | ages.between(0, 120), values, path, "years, 0 to 120, or empty")
    return ages


def strip_name(names: pd.Series) -> pd.Series:
    """Remove the suffix that the ISIC 2019 challenge added to some names of ISIC's archive."""
    return names.str.removesuffix("_downsampled")
