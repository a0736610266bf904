"""Read MILK10k's own layout (ISIC's challenge of 2025) as a table of cases."""

import pandas as pd
from etils import epath

from training.data.cases import Listing, decode_one_hot, make_cases, read_table, require
from training.data.vocabulary import Target
from training.errors import TrainingError

_DIAGNOSES = {
    "AKIEC": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "BEN_OTH": "other benign",
    "BKL": "benign keratosis",
    "DF": "dermatofibroma",
    "INF": "inflammatory or infectious",
    "MAL_OTH": "other malignant",
    "MEL": "melanoma",
    "NV": "nevus",
    "SCCKA": "squamous cell carcinoma",
    "VASC": "vascular lesion",
}
_MODALITIES = {"dermoscopic": "dermoscopic", "clinical: close-up": "close-up"}
_SITES = {
    "head_neck_face": "head/neck",
    "trunk": "torso",
    "upper_extremity": "upper extremity",
    "lower_extremity": "lower extremity",
    # Most photos of hands and feet show their backs, which are no palms and soles.
    "hand": "upper extremity",
    "foot": "lower extremity",
    "genital": "oral/genital",
}


def read_milk10k(folder: epath.Path, target: Target) -> Listing:
    """Read two CSV files beside `MILK10k_Training_Input/<lesion_id>/<isic_id>.jpg`.

    Each lesion has a dermoscopic image and a clinical close-up. Both are one group; MILK10k has no
    patients. The diagnosis is the lesion's.

    Returns:
        The cases, before their images are looked for, and a warning about lesions that lack one of
        their two images.

    Raises:
        TrainingError: a file, column, row or class is missing, wrong or unknown.
    """
    truth_path = folder / "MILK10k_Training_GroundTruth.csv"
    facts_path = folder / "MILK10k_Training_Metadata.csv"
    truth = read_table(truth_path, ["lesion_id", *_DIAGNOSES])
    unknown = [column for column in truth if column not in ("lesion_id", *_DIAGNOSES)]
    if unknown:
        raise TrainingError(
            f"{truth_path}, line 1: class {', '.join(map(str, unknown))} is not known. Correct its "
            f"name, or remove the column and its lesions. Known: {', '.join(_DIAGNOSES)}."
        )
    facts = read_table(
        facts_path,
        ["lesion_id", "image_type", "isic_id", "age_approx", "sex", "skin_tone_class", "site"],
    )
    lesions = truth["lesion_id"]
    require(~lesions.duplicated(), lesions, truth_path, "listed once")
    diagnoses = decode_one_hot(truth, truth_path, _DIAGNOSES)
    diagnosis = facts["lesion_id"].map(dict(zip(lesions, diagnoses, strict=True)))
    require(diagnosis.notna(), facts["lesion_id"], facts_path, f"a lesion of {truth_path.name}")
    kinds = facts["image_type"]
    require(kinds.isin(_MODALITIES), kinds, facts_path, f"one of {', '.join(_MODALITIES)}")
    alone = truth[~lesions.isin(facts["lesion_id"])]
    if len(alone):
        raise TrainingError(
            f"{truth_path}, line {alone.index[0]}: {alone['lesion_id'].iloc[0]} has no row in "
            f"{facts_path} ({len(alone)} such lesions). Add it there, or remove it here."
        )
    images = f"{folder / 'MILK10k_Training_Input'}/"
    cases = make_cases(
        facts_path,
        target,
        image_name=facts["isic_id"],
        path=images + facts["lesion_id"] + "/" + facts["isic_id"] + ".jpg",
        source=pd.Series("milk10k", facts.index),
        patient_id=pd.Series("", facts.index),
        lesion_id=facts["lesion_id"],
        sex=facts["sex"],
        age_approx=facts["age_approx"],
        anatom_site=facts["site"].replace(_SITES),
        diagnosis=diagnosis,
        modality=kinds.map(_MODALITIES),
        skin_tone=facts["skin_tone_class"],
    )
    return Listing(cases, _warn_of_single_images(facts, facts_path))


def _warn_of_single_images(facts: pd.DataFrame, path: epath.Path) -> tuple[str, ...]:
    kinds = facts.groupby("lesion_id")["image_type"].agg(set)
    single = kinds.index[kinds.map(len) < len(_MODALITIES)]
    if single.empty:
        return ()
    absent = next(kind for kind in _MODALITIES if kind not in kinds[single[0]])
    line = facts.index[facts["lesion_id"] == single[0]][0]
    return (
        f"{path}, line {line}: {single[0]} has no {absent} image, the first of {len(single)} "
        "lesions with one image of two. They are kept; add the rows if you have the images.",
    )
