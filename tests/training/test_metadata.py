from pathlib import Path

import pytest

from tests.training.archives import write_isic2019, write_isic2020
from training.errors import TrainingError
from training.metadata import read_archives, read_isic2019, read_isic2020

TRUTH, FACTS = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
DATA = Path(__file__).parents[3] / "shared/data"
REAL, REAL2020 = DATA / "isic2019-256", DATA / "isic2020-512"


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
        (TRUTH, 3, "0000001", "0000000", r"line 3: DRAWN_0000000 stands here for the second"),
        (TRUTH, 3, "0000001", "0000099", r"line 3: DRAWN_0000099 has no row in"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_line(
    folder: Path, file: str, line: int, old: str, new: str, complaint: str
) -> None:
    edit(folder / file, line, old, new)
    with pytest.raises(TrainingError, match=f"{file}.*{complaint}"):
        read_isic2019(folder)


def test_a_listed_image_that_is_missing_is_named(folder: Path) -> None:
    (folder / "ISIC_2019_Training_Input" / "DRAWN_0000004.jpg").unlink()
    with pytest.raises(TrainingError, match=r"1 of 7 images are missing, first .*DRAWN_0000004"):
        read_isic2019(folder)


def test_a_folder_without_csv_says_which_file_it_wants(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="GroundTruth.csv cannot be read"):
        read_isic2019(tmp_path)


@pytest.fixture
def folder2020(tmp_path: Path) -> Path:
    return write_isic2020(tmp_path / "isic2020", patients=8)


def test_isic2020_is_grouped_by_patient(folder2020: Path) -> None:
    cases = read_isic2020(folder2020).set_index("image_name")
    assert (len(cases), cases["target"].sum(), cases["group"].nunique()) == (16, 2, 8)
    assert cases.loc["DRAWN20_0000003", "group"] == "P_1"
    assert cases.loc["DRAWN20_0000003", "diagnosis"] == ""


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


def test_a_folder_that_is_no_isic2020_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds none of train.csv"):
        read_isic2020(tmp_path)


def test_archives_are_read_into_one_table(folder: Path, folder2020: Path) -> None:
    cases = read_archives([folder], [folder2020])
    assert cases["source"].value_counts().to_dict() == {"isic2020": 16, "isic2019": 7}
    assert list(cases.index) == list(range(23))


def test_one_name_in_two_archives_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match="have one name"):
        read_archives([folder, folder], [])


def test_no_archive_at_all_is_refused() -> None:
    with pytest.raises(TrainingError, match="at least one --isic2019 or --isic2020"):
        read_archives([], [])


@pytest.mark.skipif(not REAL.exists(), reason="the real ISIC images are not on this machine")
def test_real_isic2019_gives_its_known_counts() -> None:
    cases = read_isic2019(REAL)
    assert (len(cases), cases["target"].sum()) == (12_303, 1_540)


@pytest.mark.skipif(not REAL2020.exists(), reason="the real ISIC images are not on this machine")
def test_real_isic2020_gives_its_known_counts() -> None:
    cases = read_isic2020(REAL2020)
    assert (len(cases), cases["target"].sum(), cases["group"].nunique()) == (266, 39, 130)
