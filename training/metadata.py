"""ISIC metadata -> one table of cases, one row per image."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from processing.bundle import Label
from training.errors import TrainingError

# One vocabulary over all sources. The order is the code in the TFRecords: append, never reorder.
SEXES = ("female", "male")
SITES = (
    "head/neck", "lower extremity", "oral/genital", "palms/soles", "torso", "upper extremity",
)  # fmt: skip
DIAGNOSES = (
    "melanoma", "nevus", "basal cell carcinoma", "actinic keratosis", "benign keratosis",
    "dermatofibroma", "vascular lesion", "squamous cell carcinoma",
)  # fmt: skip

_ISIC2019_DIAGNOSES = dict(
    zip(("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"), DIAGNOSES, strict=True)
) | {"UNK": ""}
# ISIC 2020 has one torso only.
_ISIC2019_SITES = {site: site for site in SITES} | {
    "anterior torso": "torso",
    "posterior torso": "torso",
    "lateral torso": "torso",
}


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
    order = pd.Index(facts["image"]).get_indexer(truth["image"])
    facts = facts.iloc[order]
    images = truth["image"].to_numpy()
    diagnoses = _decode_one_hot(truth, truth_path)
    lesions = facts["lesion_id"].to_numpy()
    cases = pd.DataFrame(
        {
            "image_name": images,
            "path": [str(folder / "ISIC_2019_Training_Input" / f"{name}.jpg") for name in images],
            "source": "isic2019",
            "patient_id": "",
            "lesion_id": lesions,
            "sex": _translate(facts["sex"], {sex: sex for sex in SEXES}, facts_path),
            "age_approx": _parse_ages(facts["age_approx"], facts_path),
            "anatom_site": _translate(facts["anatom_site_general"], _ISIC2019_SITES, facts_path),
            "diagnosis": diagnoses,
            "target": [int(diagnosis == "melanoma") for diagnosis in diagnoses],
            "group": np.where(lesions != "", lesions, images),
        }
    )
    absent = [path for path in cases["path"] if not Path(path).is_file()]
    if absent:
        raise TrainingError(
            f"{truth_path}: {len(absent)} of {len(cases)} images are missing, first {absent[0]}. "
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
    repeated = table.index[table["image"].duplicated()]
    if len(repeated):
        name = table.loc[repeated[0], "image"]
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


SOURCES = {"isic2019": "ISIC 2019 training set or a part of it"}
LABEL = Label(
    name="melanoma",
    covers="melanoma, invasive or in situ",
    not_covered=(
        "other skin cancers: basal cell carcinoma, squamous cell carcinoma and actinic keratosis "
        "count as benign here"
    ),
)
# The strictest licence among the images decides what the model may be used for.
LICENCE = "CC-BY-NC-4.0: for non-commercial use, with the attribution below"
ATTRIBUTION = (
    "HAM10000 (c) ViDIR Group, Department of Dermatology, Medical University of Vienna, "
    "doi:10.1038/sdata.2018.161, CC-BY-NC 4.0",
    "ISIC 2017 and ISIC 2018 tasks 1-2, International Skin Imaging Collaboration, "
    "arXiv:1710.05006 and arXiv:1902.03368, CC-0",
    "ISIC 2019 also holds BCN_20000, (c) Department of Dermatology, Hospital Clinic de Barcelona, "
    "arXiv:1908.02288, CC-BY-NC 4.0",
)
