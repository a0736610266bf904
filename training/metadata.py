"""ISIC metadata -> one table of cases, one row per image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import TrainingError
from training.vocabulary import DIAGNOSES, SEXES, SITES

_ISIC2019_DIAGNOSES = {
    "MEL": "melanoma",
    "NV": "nevus",
    "BCC": "basal cell carcinoma",
    "AK": "actinic keratosis",
    "BKL": "benign keratosis",
    "DF": "dermatofibroma",
    "VASC": "vascular lesion",
    "SCC": "squamous cell carcinoma",
    "UNK": "unknown",
}
_DIAGNOSES = {diagnosis: diagnosis for diagnosis in DIAGNOSES} | {"unknown": ""}
# ISIC 2020 has one torso only.
_SITES = {site: site for site in SITES} | {
    "anterior torso": "torso",
    "posterior torso": "torso",
    "lateral torso": "torso",
}


def read_archives(isic2019: Sequence[Path], isic2020: Sequence[Path]) -> pd.DataFrame:
    """Read any number of archives into one table of cases; see `read_isic2019` for its columns.

    Raises:
        TrainingError: as the readers, or two archives hold an image of the same name.
    """
    tables = [*map(read_isic2019, isic2019), *map(read_isic2020, isic2020)]
    if not tables:
        raise TrainingError("No images: give at least one --isic2019 or --isic2020.")
    cases = pd.concat(tables, ignore_index=True)
    twice = cases[cases["image_name"].duplicated(keep=False)].sort_values("image_name")
    if len(twice):
        first, second = twice["path"].iloc[:2]
        raise TrainingError(
            f"{first} and {second} have one name ({len(twice) // 2} such pairs). Leave one "
            "archive out, or remove the rows from one of them."
        )
    return cases


def read_isic2019(folder: Path) -> pd.DataFrame:
    """Read ISIC 2019's own layout: two CSV files beside `ISIC_2019_Training_Input/`.

    Returns:
        The table of cases. Missing values are "", but `age_approx` is a float with NaN. `target`
        is 1 for melanoma, as in ISIC 2020. ISIC 2019 has no patients: `patient_id` is "", and
        `group` is the lesion, or the image where the lesion is not known.

    Raises:
        TrainingError: a file, column, row or image is missing or wrong.
    """
    truth_path = folder / "ISIC_2019_Training_GroundTruth.csv"
    facts_path = folder / "ISIC_2019_Training_Metadata.csv"
    truth = _read_csv(truth_path, ["image", *_ISIC2019_DIAGNOSES])
    facts = _read_csv(
        facts_path, ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    )
    _require_same_images(truth, truth_path, facts, facts_path)
    # Both keep their lines as index for the messages; arrays keep pandas from aligning on it.
    facts = facts.iloc[pd.Index(facts["image"]).get_indexer(truth["image"])]
    diagnoses = _decode_one_hot(truth, truth_path)
    return _make_cases(
        facts_path,
        images=folder / "ISIC_2019_Training_Input",
        source="isic2019",
        image_name=facts["image"],
        patient_id=pd.Series("", facts.index),
        lesion_id=facts["lesion_id"],
        sex=facts["sex"],
        age_approx=facts["age_approx"],
        anatom_site=facts["anatom_site_general"],
        diagnosis=pd.Series(diagnoses, facts.index, name="diagnosis"),
    )


def read_isic2020(folder: Path) -> pd.DataFrame:
    """Read ISIC 2020's own layout: `train/` beside `train.csv` or the challenge's ground truth.

    Returns:
        As `read_isic2019`. `group` is the patient. Only the second version of the ground truth
        knows lesions.

    Raises:
        TrainingError: as `read_isic2019`, or a target contradicts its diagnosis.
    """
    names = (
        "train.csv",
        "ISIC_2020_Training_GroundTruth_v2.csv",
        "ISIC_2020_Training_GroundTruth.csv",
    )
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise TrainingError(f"{folder} holds none of {', '.join(names)}.")
    table = _read_csv(
        path,
        [
            "image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge",
            "diagnosis", "target",
        ],
    )  # fmt: skip
    melanoma = (table["diagnosis"] == "melanoma").map({True: "1", False: "0"})
    _require_all(
        table["target"] == melanoma, table["target"], path, "1 for melanoma and 0 for all others"
    )
    return _make_cases(
        path,
        images=folder / "train",
        source="isic2020",
        image_name=table["image_name"],
        patient_id=table["patient_id"],
        lesion_id=table.get("lesion_id", pd.Series("", table.index)),
        sex=table["sex"],
        age_approx=table["age_approx"],
        anatom_site=table["anatom_site_general_challenge"],
        diagnosis=table["diagnosis"],
    )


def _make_cases(path: Path, images: Path, source: str, **columns: pd.Series) -> pd.DataFrame:
    """Check and translate the columns of one archive; their index is the line in `path`."""
    names = columns["image_name"].to_numpy()
    patients, lesions = columns["patient_id"].to_numpy(), columns["lesion_id"].to_numpy()
    diagnoses = _translate(columns["diagnosis"], _DIAGNOSES, path)
    cases = pd.DataFrame(
        {
            "image_name": names,
            "path": [str(images / f"{name}.jpg") for name in names],
            "source": source,
            "patient_id": patients,
            "lesion_id": lesions,
            "sex": _translate(columns["sex"], {sex: sex for sex in SEXES}, path),
            "age_approx": _parse_ages(columns["age_approx"], path),
            "anatom_site": _translate(columns["anatom_site"], _SITES, path),
            "diagnosis": diagnoses,
            "target": (diagnoses == "melanoma").astype("int64"),
            "group": np.where(patients != "", patients, np.where(lesions != "", lesions, names)),
        }
    )
    absent = [file for file in cases["path"] if not Path(file).is_file()]
    if absent:
        raise TrainingError(
            f"{path}: {len(absent)} of {len(cases)} images are missing, first {absent[0]}. "
            "Download them, or remove their rows."
        )
    return cases


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """Text cells, missing ones ""; the index is the line in the file."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as CSV: {error}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise TrainingError(
            f"{path}: column {', '.join(missing)} is missing. Found: {', '.join(table.columns)}"
        )
    if table.empty:
        raise TrainingError(f"{path} has no rows.")
    table.index = pd.RangeIndex(2, len(table) + 2)  # the header is line 1
    key = columns[0]
    repeated = table.index[table[key].duplicated()]
    if len(repeated):
        name = table.loc[repeated[0], key]
        raise TrainingError(f"{path}, line {repeated[0]}: {name} stands here for the second time.")
    return table


def _require_same_images(a: pd.DataFrame, a_path: Path, b: pd.DataFrame, b_path: Path) -> None:
    for one, one_path, other, other_path in ((a, a_path, b, b_path), (b, b_path, a, a_path)):
        alone = one[~one["image"].isin(other["image"])]
        if len(alone):
            raise TrainingError(
                f"{one_path}, line {alone.index[0]}: {alone['image'].iloc[0]} has no row in "
                f"{other_path} ({len(alone)} such rows)."
            )


def _translate(values: pd.Series, vocabulary: dict[str, str], path: Path) -> NDArray[np.object_]:
    translated = values.map(vocabulary | {"": ""})
    _require_all(translated.notna(), values, path, f"one of {', '.join(vocabulary)} or empty")
    return translated.to_numpy()


def _parse_ages(values: pd.Series, path: Path) -> NDArray[np.float64]:
    ages = pd.to_numeric(values, errors="coerce")
    _require_all((values == "") | ages.between(0, 120), values, path, "years, 0 to 120, or empty")
    return ages.to_numpy()


def _decode_one_hot(truth: pd.DataFrame, path: Path) -> list[str]:
    codes = list(_ISIC2019_DIAGNOSES)
    marks = truth[codes].apply(pd.to_numeric, errors="coerce")
    good = marks.isin([0, 1]).all(axis=1) & (marks.sum(axis=1) == 1)
    shown = truth[codes].agg(",".join, axis=1)
    _require_all(good, shown, path, f"one 1 among {','.join(codes)}, the others 0")
    return [_ISIC2019_DIAGNOSES[code] for code in marks.idxmax(axis=1)]


def _require_all(good: pd.Series, values: pd.Series, path: Path, expected: str) -> None:
    bad = values[~good.to_numpy()]
    if len(bad):
        raise TrainingError(
            f"{path}, line {values.index[~good.to_numpy()][0]}: {values.name or 'diagnosis'} "
            f"{bad.iloc[0]!r} should be {expected} ({len(bad)} such rows)."
        )
