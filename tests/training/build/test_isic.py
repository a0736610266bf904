from pathlib import Path

import pandas as pd
import pytest

from tests.isic import ISIC2019_SQUARES, ISIC2020, METADATA, needs
from tests.training.archives import write_isic2019, write_isic2020
from training.build.sources import read_sources
from training.data.vocabulary import TARGETS
from training.errors import TrainingError

TRUTH, FACTS = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
MELANOMA = TARGETS["melanoma"]


def read_isic2019(*folders: Path) -> pd.DataFrame:
    return read_sources(MELANOMA, isic2019=folders).cases


def read_isic2020(*folders: Path) -> pd.DataFrame:
    return read_sources(MELANOMA, isic2020=folders).cases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_isic2019(tmp_path / "isic", melanomas=3, nevi=4, side=32)


def edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


def test_cases_join_truth_and_metadata_by_name_whatever_their_order(folder: Path) -> None:
    cases = read_isic2019(folder).set_index("image_name")
    assert cases["target"].sum() == 3
    assert cases.loc["DRAWN_0000002", "diagnosis"] == "melanoma"
    assert cases.loc["DRAWN_0000002", "lesion_id"] == "M_1"
    assert cases.loc["DRAWN_0000005", "group"] == "N_2"
    assert set(cases["anatom_site"]) == {"torso"}


def test_an_image_without_lesion_is_a_group_of_its_own(folder: Path) -> None:
    cases = read_isic2019(folder).set_index("image_name")
    assert cases.loc["DRAWN_0000000", "group"] == "DRAWN_0000000"


def test_missing_age_stays_missing(folder: Path) -> None:
    edit(folder / FACTS, 2, "55.0", "")
    assert read_isic2019(folder)["age_approx"].isna().sum() == 1


@pytest.mark.parametrize(
    ("file", "line", "old", "new", "complaint"),
    [
        (FACTS, 1, "lesion_id", "lesion", "column lesion_id is missing"),
        (TRUTH, 1, "MEL", "mel", "column MEL is missing"),
        (FACTS, 3, "female", "f", r"line 3: sex 'f' should be one of female, male"),
        (FACTS, 4, "55.0", "abc", r"line 4: age_approx 'abc' should be years"),
        (FACTS, 4, "anterior torso", "elbow", r"line 4: anatom_site_general 'elbow'"),
        (TRUTH, 2, "0000000,1", "0000000,2", r"line 2: diagnosis '2,0.* should be one 1"),
        (TRUTH, 2, "0000000,1", "0000000,0", r"line 2: diagnosis '0,0"),
        (TRUTH, 3, "0000001", "0000099", r"line 3: DRAWN_0000099 has no row in"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_line(
    folder: Path, file: str, line: int, old: str, new: str, complaint: str
) -> None:
    edit(folder / file, line, old, new)
    with pytest.raises(TrainingError, match=f"{file}.*{complaint}"):
        read_isic2019(folder)


def repeat_row(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[line - 1].replace(old, new, 1)]) + "\n")


def test_an_image_with_two_targets_is_named_with_both_lines(folder: Path) -> None:
    repeat_row(folder / TRUTH, 4, "2,1,0", "2,0,1")
    with pytest.raises(
        TrainingError,
        match=f"{TRUTH}, line 9: DRAWN_0000002 already stands in .*{TRUTH}, line 4, with target 1 "
        "there and 0 here",
    ):
        read_isic2019(folder)


def test_an_image_with_two_targets_is_named_before_one_that_is_merely_repeated(
    folder2020: Path,
) -> None:
    repeat_row(folder2020 / "train.csv", 3, "", "")
    repeat_row(folder2020 / "train.csv", 2, "melanoma,malignant,1", "nevus,benign,0")
    with pytest.raises(TrainingError, match=r"line 19: DRAWN20_0000000 .*line 2, .*2 names stand"):
        read_isic2020(folder2020)


@pytest.mark.parametrize("file", [TRUTH, FACTS])
def test_an_image_in_two_rows_is_named_with_its_line(folder: Path, file: str) -> None:
    repeat_row(folder / file, 3, "", "")
    with pytest.raises(TrainingError, match=f"{file}, line 9: DRAWN_000000. .*Remove one of its"):
        read_isic2019(folder)


def test_a_downsampled_image_is_found_under_the_name_that_isics_downloader_gives(
    folder: Path,
) -> None:
    edit(folder / TRUTH, 2, "DRAWN_0000000", "DRAWN_0000000_downsampled")
    edit(folder / FACTS, 8, "DRAWN_0000000", "DRAWN_0000000_downsampled")
    listing = read_sources(MELANOMA, isic2019=[folder])
    assert listing.cases["image_name"].iloc[0] == "DRAWN_0000000_downsampled"
    assert Path(listing.cases["path"].iloc[0]).name == "DRAWN_0000000.jpg"
    assert not listing.warnings


def test_an_extension_in_capitals_is_found(folder: Path) -> None:
    image = folder / "ISIC_2019_Training_Input" / "DRAWN_0000003.jpg"
    image.rename(image.with_suffix(".JPG"))
    listing = read_sources(MELANOMA, isic2019=[folder])
    assert str(image.with_suffix(".JPG")) in set(listing.cases["path"])
    assert not listing.warnings


def test_a_missing_csv_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="GroundTruth.csv cannot be read"):
        read_isic2019(tmp_path)


@pytest.mark.parametrize(
    ("name", "positives"),
    [("melanoma", 1), ("malignant", 3), ("malignant with actinic keratosis", 4)],
)
def test_a_target_counts_its_diagnoses(folder: Path, name: str, positives: int) -> None:
    lines = (folder / TRUTH).read_text().splitlines()
    for line, code in enumerate(("MEL", "BCC", "SCC", "AK", "NV", "BKL", "UNK"), start=1):
        marks = ["1" if column == code else "0" for column in lines[0].split(",")[1:]]
        lines[line] = ",".join([lines[line].split(",")[0], *marks])
    (folder / TRUTH).write_text("\n".join(lines))
    cases = read_sources(TARGETS[name], isic2019=[folder]).cases
    named_by_isic2019 = TARGETS[name].diagnoses - {"other malignant"}
    assert cases["target"].sum() == len(named_by_isic2019) == positives


def test_blank_lines_do_not_shift_the_lines_that_are_named(folder: Path) -> None:
    edit(folder / FACTS, 3, "DRAWN", "\n\nDRAWN")
    edit(folder / FACTS, 6, "55.0", "abc")
    with pytest.raises(TrainingError, match="line 6: age_approx 'abc'"):
        read_isic2019(folder)


@pytest.fixture
def folder2020(tmp_path: Path) -> Path:
    return write_isic2020(tmp_path / "isic2020", patients=8)


def test_isic2020_is_grouped_by_patient(folder2020: Path) -> None:
    cases = read_isic2020(folder2020).set_index("image_name")
    assert (len(cases), cases["target"].sum(), cases["group"].nunique()) == (16, 2, 8)
    assert cases.loc["DRAWN20_0000003", "group"] == "P_1"
    assert cases.loc["DRAWN20_0000003", "diagnosis"] == ""
    assert cases.loc["DRAWN20_0000003", "listed"] == f"{folder2020 / 'train.csv'}, line 5"


def test_isic2020_is_read_in_kaggles_layout(folder2020: Path) -> None:
    (folder2020 / "jpeg").mkdir()
    (folder2020 / "train").rename(folder2020 / "jpeg/train")
    (folder2020 / "train").mkdir()  # of DICOM files
    assert read_isic2020(folder2020)["present"].all()


def test_the_second_ground_truth_of_isic2020_has_lesions(folder2020: Path) -> None:
    table = pd.read_csv(folder2020 / "train.csv").assign(lesion_id="IL_1")
    (folder2020 / "train.csv").unlink()
    table.to_csv(folder2020 / "ISIC_2020_Training_GroundTruth_v2.csv", index=False)
    cases = read_isic2020(folder2020)
    assert set(cases["lesion_id"]) == {"IL_1"}
    assert cases["group"].nunique() == 8


@pytest.mark.parametrize(
    ("line", "old", "new", "complaint"),
    [
        (1, "patient_id", "patient", "column patient_id is missing"),
        (2, "malignant,1", "malignant,0", "line 2: target '0' should be 1 for melanoma"),
        (3, "unknown", "wart", "line 3: diagnosis 'wart' should be one of melanoma"),
    ],
)
def test_a_wrong_cell_of_isic2020_is_named_with_its_line(
    folder2020: Path, line: int, old: str, new: str, complaint: str
) -> None:
    edit(folder2020 / "train.csv", line, old, new)
    with pytest.raises(TrainingError, match=f"train.csv.*{complaint}"):
        read_isic2020(folder2020)


def test_a_folder_without_isic2020_names_the_accepted_files(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds none of train.csv"):
        read_isic2020(tmp_path)


@needs(ISIC2019_SQUARES)
def test_real_isic2019_gives_its_known_counts() -> None:
    listing = read_sources(MELANOMA, isic2019=[ISIC2019_SQUARES])
    assert (len(listing.cases), listing.cases["target"].sum()) == (12_303, 1_540)
    assert not listing.warnings


@needs(ISIC2020)
def test_real_isic2020_gives_its_known_counts() -> None:
    cases = read_isic2020(ISIC2020)
    assert (len(cases), cases["target"].sum(), cases["group"].nunique()) == (266, 39, 130)


@needs(METADATA)
@pytest.mark.parametrize(
    ("name", "positives"),
    [("melanoma", 4_522), ("malignant", 8_473), ("malignant with actinic keratosis", 9_340)],
)
def test_the_full_metadata_gives_its_known_counts(name: str, positives: int) -> None:
    cases = read_sources(
        TARGETS[name], isic2019=[METADATA], isic2020=[METADATA], with_images=False
    ).cases
    counts = cases.groupby("source")["target"].agg(["size", "sum"])
    assert list(counts.loc["isic2019"]) == [25_331, positives]
    assert list(counts.loc["isic2020"]) == [33_126, 584]
