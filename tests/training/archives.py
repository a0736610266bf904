"""Archives of drawn lesions, laid out as ISIC publishes its own."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from etils import epath
from PIL import Image

from processing.drawing import draw_lesion
from training.build.build import build_folders
from training.build.sources import read_sources
from training.data.cases import Listing
from training.data.folder import Build, BuildSettings
from training.data.vocabulary import TARGETS

COLUMNS = ["image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]


def write_isic2019(folder: Path, melanomas: int, nevi: int, side: int = 96, first: int = 0) -> Path:
    """Draw lesions in ISIC 2019's layout; each but the first two has two images."""
    images = folder / "ISIC_2019_Training_Input"
    images.mkdir(parents=True)
    truth, facts = [], []
    for i in range(first, first + melanomas + nevi):
        melanoma = i < first + melanomas
        name = f"DRAWN_{i:07d}"
        Image.fromarray(draw_lesion(i, side, irregular=melanoma)).save(
            images / f"{name}.jpg", quality=95
        )
        truth.append(
            [name, *("1" if c == ("MEL" if melanoma else "NV") else "0" for c in COLUMNS[1:])]
        )
        lesion = "" if i < first + 2 else f"{'M' if melanoma else 'N'}_{i // 2}"
        facts.append([name, "55.0", "anterior torso", lesion, "female"])
    pd.DataFrame(truth, columns=COLUMNS).to_csv(
        folder / "ISIC_2019_Training_GroundTruth.csv", index=False
    )
    # In another order than the truth, since ISIC does not promise the same one.
    pd.DataFrame(
        facts[::-1], columns=["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    ).to_csv(folder / "ISIC_2019_Training_Metadata.csv", index=False)
    return folder


def write_isic2020(folder: Path, patients: int, side: int = 32) -> Path:
    """Draw lesions in ISIC 2020's layout: two per patient; every fourth patient has a melanoma."""
    (folder / "train").mkdir(parents=True)
    rows = []
    for i in range(2 * patients):
        melanoma = i % 8 == 0
        name = f"DRAWN20_{i:07d}"
        Image.fromarray(draw_lesion(i, side, irregular=melanoma)).save(
            folder / "train" / f"{name}.jpg", quality=95
        )
        diagnosis = "melanoma" if melanoma else "unknown"
        verdict = "malignant" if melanoma else "benign"
        patient = f"P_{i // 2}"
        rows.append([name, patient, "male", "45.0", "torso", diagnosis, verdict, int(melanoma)])
    columns = [
        "image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge",
        "diagnosis", "benign_malignant", "target",
    ]  # fmt: skip
    pd.DataFrame(rows, columns=columns).to_csv(folder / "train.csv", index=False)
    return folder


SETTINGS = BuildSettings(size=64, crop_fraction=0.8, shards=4, seed=0)


def list_isic2019(folder: Path) -> Listing:
    """Read the cases of one archive in ISIC 2019's layout."""
    return read_sources(TARGETS["melanoma"], isic2019=[epath.Path(folder)])


def build_isic2019(archive: Path, out: Path, settings: BuildSettings = SETTINGS) -> Build:
    """Build one data folder from one archive in ISIC 2019's layout."""
    (built,) = build_folders(list_isic2019(archive), [], [settings], epath.Path(out)).values()
    return built


def forget_hashes(folder: Path) -> None:
    """Make a data folder one from before the hashes of shards were recorded."""
    path = Path(folder) / "build.json"
    built = json.loads(path.read_text())
    del built["shard_sha256"]
    path.write_text(json.dumps(built))


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder` by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }
