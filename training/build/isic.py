"""Read ISIC's own layouts of its training sets as tables of cases."""

import pandas as pd
from etils import epath

from training.data.cases import decode_one_hot, make_cases, name_lines, read_table, require
from training.data.vocabulary import Target
from training.errors import TrainingError

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


def read_isic2019(folder: epath.Path, target: Target) -> pd.DataFrame:
    """Read ISIC 2019's own layout: two CSV files beside `ISIC_2019_Training_Input/`.

    Returns:
        The table of cases, before any image is looked for. ISIC 2019 has no patients: `patient_id`
        is "", and `group` is the lesion, or the image where the lesion is unknown.

    Raises:
        TrainingError: a file, column or row is missing or wrong.
    """
    truth_path = folder / "ISIC_2019_Training_GroundTruth.csv"
    facts_path = folder / "ISIC_2019_Training_Metadata.csv"
    truth = read_table(truth_path, ["image", *_ISIC2019_DIAGNOSES])
    facts = read_table(
        facts_path, ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    )
    _require_same_images(truth, truth_path, facts, facts_path)
    # The index of both tables is the line, for the messages; a list is not aligned by it.
    diagnoses = decode_one_hot(truth, truth_path, _ISIC2019_DIAGNOSES)
    facts = facts.iloc[pd.Index(facts["image"]).get_indexer(truth["image"])]
    cases = make_cases(
        facts_path,
        target,
        image_name=facts["image"],
        path=_locate(folder / "ISIC_2019_Training_Input", facts["image"]),
        source=pd.Series("isic2019", facts.index),
        patient_id=pd.Series("", facts.index),
        lesion_id=facts["lesion_id"],
        sex=facts["sex"],
        age_approx=facts["age_approx"],
        anatom_site=facts["anatom_site_general"],
        diagnosis=pd.Series(diagnoses, facts.index),
        modality=pd.Series("dermoscopic", facts.index),
    )
    return cases.assign(listed=name_lines(truth_path, truth.index))


def read_isic2020(folder: epath.Path, target: Target) -> pd.DataFrame:
    """Read ISIC 2020's own layout, that of Kaggle or that of the challenge.

    Returns:
        The table of cases, before any image is looked for. `group` is the patient. Only the second
        version of the ground truth has lesions.

    Raises:
        TrainingError: a file, column or row is missing or wrong, or a target contradicts its
            diagnosis.
    """
    names = (
        "train.csv",
        "ISIC_2020_Training_GroundTruth_v2.csv",
        "ISIC_2020_Training_GroundTruth.csv",
    )
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise TrainingError(f"{folder} holds none of {', '.join(names)}.")
    table = read_table(
        path,
        [
            "image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge",
            "diagnosis", "target",
        ],
    )  # fmt: skip
    melanoma = (table["diagnosis"] == "melanoma").map({True: "1", False: "0"})
    require(
        table["target"] == melanoma, table["target"], path, "1 for melanoma and 0 for all others"
    )
    images = folder / "jpeg/train"  # where it exists, `train` holds DICOM files
    return make_cases(
        path,
        target,
        image_name=table["image_name"],
        path=_locate(images if images.is_dir() else folder / "train", table["image_name"]),
        source=pd.Series("isic2020", table.index),
        patient_id=table["patient_id"],
        lesion_id=table.get("lesion_id", pd.Series("", table.index)),
        sex=table["sex"],
        age_approx=table["age_approx"],
        anatom_site=table["anatom_site_general_challenge"],
        diagnosis=table["diagnosis"],
        modality=pd.Series("dermoscopic", table.index),
    )


def _locate(images: epath.Path, names: pd.Series) -> pd.Series:
    return f"{images}/" + names + ".jpg"


def _require_same_images(
    truth: pd.DataFrame, truth_path: epath.Path, facts: pd.DataFrame, facts_path: epath.Path
) -> None:
    for one, one_path, other, other_path in (
        (truth, truth_path, facts, facts_path),
        (facts, facts_path, truth, truth_path),
    ):
        alone = one[~one["image"].isin(other["image"])]
        if len(alone):
            raise TrainingError(
                f"{one_path}, line {alone.index[0]}: {alone['image'].iloc[0]} has no row in "
                f"{other_path} ({len(alone)} such rows). Add it there, or remove it here."
            )
    # `read_sources` finds second rows in `truth`, and names both targets.
    again = facts[facts["image"].duplicated()]
    if len(again):
        raise TrainingError(
            f"{facts_path}, line {again.index[0]}: {again['image'].iloc[0]} stands here for the "
            "second time. Remove one of its rows."
        )
