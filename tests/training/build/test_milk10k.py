import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from etils import epath
from PIL import Image

from processing.drawing import draw_lesion
from tests.isic import MILK10K, needs
from training.build.build import build_folders
from training.build.milk10k import read_milk10k
from training.build.sources import read_sources
from training.data.folder import BuildSettings, read_data, read_dropped
from training.data.kaggle import read_kaggle
from training.data.vocabulary import TARGETS
from training.errors import TrainingError

CODES = ["AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC"]
KINDS = ("dermoscopic", "clinical: close-up")
MELANOMA, MALIGNANT = TARGETS["melanoma"], TARGETS["malignant"]
SETTINGS = BuildSettings(size=32, crop_fraction=1.0, shards=2, seed=0)


def write_milk10k(folder: Path, classes: list[str], suffix: str = ".jpg", side: int = 40) -> Path:
    """Drawn lesions in MILK10k's layout, of one class each."""
    truth, facts = [], []
    for i, code in enumerate(classes):
        lesion = f"IL_{i:07d}"
        (folder / "MILK10k_Training_Input" / lesion).mkdir(parents=True)
        truth.append([lesion, *(float(code == c) for c in CODES)])
        for k, kind in enumerate(KINDS):
            name = f"ISIC_{2 * i + k:07d}"
            drawn = Image.fromarray(draw_lesion(2 * i + k, side, irregular=code == "MEL"))
            drawn.save(folder / "MILK10k_Training_Input" / lesion / f"{name}{suffix}")
            facts.append([lesion, kind, name, 50, "male", i % 6, "head_neck_face"])
    columns = ["lesion_id", "image_type", "isic_id", "age_approx", "sex", "skin_tone_class", "site"]
    pd.DataFrame(truth, columns=["lesion_id", *CODES]).to_csv(
        folder / "MILK10k_Training_GroundTruth.csv", index=False
    )
    pd.DataFrame(facts, columns=columns).to_csv(
        folder / "MILK10k_Training_Metadata.csv", index=False
    )
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> epath.Path:
    return epath.Path(write_milk10k(tmp_path / "milk10k", CODES))


@pytest.fixture
def edit(archive: epath.Path) -> Callable[[str, Callable[[pd.DataFrame], pd.DataFrame]], None]:
    """A function that changes one of the two tables."""

    def change(table: str, by: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        path = archive / f"MILK10k_Training_{table}.csv"
        by(pd.read_csv(path)).to_csv(path, index=False)

    return change


def test_both_images_of_a_lesion_are_cases_of_one_group(archive: epath.Path) -> None:
    cases, warnings = read_milk10k(archive, MELANOMA)
    assert warnings == ()
    assert len(cases) == 2 * len(CODES)
    assert (cases["group"] == cases["lesion_id"]).all()
    assert cases["modality"].tolist() == ["dermoscopic", "close-up"] * len(CODES)
    assert cases["skin_tone"].tolist()[:4] == ["0", "0", "1", "1"]
    assert set(cases["anatom_site"]) == {"head/neck"}
    assert cases.loc[cases["target"] == 1, "diagnosis"].tolist() == ["melanoma"] * 2


def test_the_wide_label_counts_all_skin_cancers(archive: epath.Path) -> None:
    cases, _ = read_milk10k(archive, MALIGNANT)
    assert set(cases.loc[cases["target"] == 1, "diagnosis"]) == {
        "melanoma", "basal cell carcinoma", "squamous cell carcinoma", "other malignant",
    }  # fmt: skip


def test_a_class_that_is_not_known_is_named(archive: epath.Path, edit: Callable[..., None]) -> None:
    edit("GroundTruth", lambda table: table.assign(NEW=0.0))
    with pytest.raises(TrainingError, match=r"GroundTruth.csv, line 1: class NEW is not.*remove"):
        read_milk10k(archive, MELANOMA)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("lesion_id", "IL_9", r"line 2: lesion_id 'IL_9' should be a lesion of MILK10k_Training_G"),
        ("image_type", "x-ray", r"line 2: image_type 'x-ray' should be one of dermoscopic, clinic"),
        ("skin_tone_class", 7, r"line 2: skin_tone_class '7' should be one of 0, 1, 2, 3, 4, 5 or"),
        ("site", "moon", r"line 2: site 'moon' should be one of"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_line(
    archive: epath.Path, edit: Callable[..., None], column: str, value: object, complaint: str
) -> None:
    edit(
        "Metadata", lambda t: t.astype({column: object}).assign(**{column: [value, *t[column][1:]]})
    )
    with pytest.raises(TrainingError, match=complaint):
        read_milk10k(archive, MELANOMA)


def test_a_lesion_without_any_row_of_metadata_is_named(
    archive: epath.Path, edit: Callable[..., None]
) -> None:
    edit("Metadata", lambda table: table[2:])
    with pytest.raises(TrainingError, match=r"GroundTruth.csv, line 2: IL_0000000 has no row in"):
        read_milk10k(archive, MELANOMA)


def test_a_lesion_with_one_image_is_kept_with_a_warning(
    archive: epath.Path, edit: Callable[..., None]
) -> None:
    edit("Metadata", lambda table: table[1:])
    cases, (warning,) = read_milk10k(archive, MELANOMA)
    assert len(cases) == 2 * len(CODES) - 1
    assert "line 2: IL_0000000 has no dermoscopic image, the first of 1 lesions" in warning


@pytest.mark.parametrize("suffix", [".webp", ".png", ".jpg"])
def test_every_kind_of_image_that_is_read_is_found(tmp_path: Path, suffix: str) -> None:
    archive = epath.Path(write_milk10k(tmp_path / "milk10k", ["MEL", "NV"], suffix))
    cases, warnings = read_sources(MELANOMA, milk10k=[archive])
    assert warnings == ()
    assert cases["present"].all()
    assert set(cases["path"].map(lambda path: Path(path).suffix)) == {suffix}


def test_modality_and_skin_tone_go_through_the_records(tmp_path: Path) -> None:
    archive = write_milk10k(tmp_path / "milk10k", ["MEL", "NV"] * 3)
    listing = read_sources(MELANOMA, milk10k=[epath.Path(archive)])
    out = epath.Path(tmp_path / "data")
    build_folders(listing, [], [SETTINGS], out)
    built = read_data(out).cases
    for table in (built, read_kaggle(out, MELANOMA).cases):
        listed = table.set_index("image_name").loc[listing.cases["image_name"]]
        assert listed["modality"].tolist() == listing.cases["modality"].tolist()
        assert listed["skin_tone"].tolist() == listing.cases["skin_tone"].tolist()
    assert built.groupby("group")["shard"].nunique().max() == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_regular_file_is_dropped_and_named(tmp_path: Path) -> None:
    archive = write_milk10k(tmp_path / "milk10k", ["MEL", "NV"] * 3)
    images = sorted((archive / "MILK10k_Training_Input").rglob("*.jpg"))
    images[0].unlink()
    os.mkfifo(images[0])
    images[1].unlink()
    images[1].symlink_to("/dev/zero")
    out = epath.Path(tmp_path / "data")
    build_folders(read_sources(MELANOMA, milk10k=[epath.Path(archive)]), [], [SETTINGS], out)
    dropped = read_dropped(out).set_index("image_name")
    for image in images[:2]:
        assert dropped.loc[image.stem, "rule"] == "unreadable"
        assert "not a regular file" in dropped.loc[image.stem, "detail"]


@needs(MILK10K)
def test_the_real_archive_is_read_whole() -> None:
    cases, (warning,) = read_sources(MELANOMA, milk10k=[epath.Path(MILK10K)])
    assert (len(cases), int(cases["target"].sum())) == (7391, 648)
    assert cases["present"].all()
    assert cases["modality"].value_counts().to_dict() == {"close-up": 3697, "dermoscopic": 3694}
    assert "3 lesions with one image of two" in warning
