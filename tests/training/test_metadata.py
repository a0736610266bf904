from pathlib import Path

import pandas as pd
import pytest

from tests.training.archives import write_isic2019, write_isic2020
from training.errors import TrainingError
from training.metadata import read_sources
from training.vocabulary import TARGETS, describe_source

TRUTH, FACTS = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
DATA = Path(__file__).parents[3] / "shared/data"
REAL, REAL2020 = DATA / "isic2019-256", DATA / "isic2020-512"


METADATA = DATA / "metadata"
MELANOMA, MALIGNANT = TARGETS["melanoma"], TARGETS["malignant"]


def read_isic2019(*folders: Path) -> pd.DataFrame:
    return read_sources(folders, [], [], [], MELANOMA).cases


def read_isic2020(*folders: Path) -> pd.DataFrame:
    return read_sources([], folders, [], [], MELANOMA).cases


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


def test_a_listed_image_that_is_absent_stays_in_the_table_with_a_warning(folder: Path) -> None:
    image = folder / "ISIC_2019_Training_Input" / "DRAWN_0000004.jpg"
    image.unlink()
    cases, (warning,) = vars(read_sources([folder], [], [], [], MELANOMA)).values()
    assert list(cases.loc[~cases["present"], "path"]) == [str(image)]
    assert f"{folder / TRUTH}, line 6: {image} is absent, the first of 1 of the 7" in warning


def test_an_image_that_is_in_no_list_is_named(folder: Path) -> None:
    images = folder / "ISIC_2019_Training_Input"
    (images / "B.jpg").touch()
    (images / "C.jpg").touch()
    (images / "ATTRIBUTION.txt").touch()
    listing = read_sources([folder], [], [], [], MELANOMA)
    (warning,) = listing.warnings
    assert f"{images / 'B.jpg'} is in no list, the first of 2" in warning
    assert len(listing.cases) == 7


@pytest.mark.parametrize("folder_stays", [True, False])
def test_an_archive_without_any_of_its_images_is_refused(folder: Path, folder_stays: bool) -> None:
    images = folder / "ISIC_2019_Training_Input"
    for file in images.iterdir():
        file.unlink()
    if not folder_stays:
        images.rmdir()
    with pytest.raises(TrainingError, match="line 2: .*0000000.jpg is absent, as is every other"):
        read_isic2019(folder)


def test_without_images_no_file_is_looked_for(folder: Path) -> None:
    (folder / "ISIC_2019_Training_Input").rename(folder / "elsewhere")
    listing = read_sources([folder], [], [], [], MELANOMA, with_images=False)
    assert listing.cases["present"].all()
    assert not listing.warnings


def test_a_downsampled_image_is_found_under_the_name_that_isics_downloader_gives(
    folder: Path,
) -> None:
    edit(folder / TRUTH, 2, "DRAWN_0000000", "DRAWN_0000000_downsampled")
    edit(folder / FACTS, 8, "DRAWN_0000000", "DRAWN_0000000_downsampled")
    listing = read_sources([folder], [], [], [], MELANOMA)
    assert listing.cases["image_name"].iloc[0] == "DRAWN_0000000_downsampled"
    assert Path(listing.cases["path"].iloc[0]).name == "DRAWN_0000000.jpg"
    assert not listing.warnings


def test_an_ending_in_capitals_is_found(folder: Path) -> None:
    image = folder / "ISIC_2019_Training_Input" / "DRAWN_0000003.jpg"
    image.rename(image.with_suffix(".JPG"))
    listing = read_sources([folder], [], [], [], MELANOMA)
    assert str(image.with_suffix(".JPG")) in set(listing.cases["path"])
    assert not listing.warnings


def test_a_folder_without_csv_says_which_file_it_wants(tmp_path: Path) -> None:
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
    cases = read_sources([folder], [], [], [], TARGETS[name]).cases
    assert cases["target"].sum() == len(TARGETS[name].diagnoses) == positives


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


def test_isic2020_is_read_as_kaggles_archive_has_it(folder2020: Path) -> None:
    (folder2020 / "jpeg").mkdir()
    (folder2020 / "train").rename(folder2020 / "jpeg/train")
    (folder2020 / "train").mkdir()  # of DICOM files
    assert read_isic2020(folder2020)["present"].all()


def test_the_second_ground_truth_of_isic2020_knows_lesions(folder2020: Path) -> None:
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


def test_a_folder_that_is_no_isic2020_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds none of train.csv"):
        read_isic2020(tmp_path)


def test_sources_are_read_into_one_table(folder: Path, folder2020: Path) -> None:
    cases = read_sources([folder], [folder2020], [], [], MELANOMA).cases
    assert cases["source"].value_counts().to_dict() == {"isic2020": 16, "isic2019": 7}
    assert list(cases.index) == list(range(23))
    assert not cases.drop(columns="age_approx").isna().any(axis=None)


def test_one_name_in_two_archives_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"already stands in .*\(7 names stand twice\)"):
        read_isic2019(folder, folder)


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(TrainingError, match="at least one --isic2019, --isic2020, --csv or"):
        read_sources([], [], [], [], MELANOMA)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Files of these names; readers do not look into them."""
    for name in ("a.jpg", "b.JPG", "c.v2.png", "sub/d.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write_list(folder: Path, *lines: str) -> Path:
    path = folder / "clinic.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_plain_csv_finds_its_images_with_and_without_ending(images: Path) -> None:
    path = write_list(images, "target,image", "0,a", "1,b.JPG", "0,c.v2", "1,sub/d")
    listing = read_sources([], [], [path], [], MELANOMA)
    assert list(listing.cases["image_name"]) == ["a", "b", "c.v2", "d"]
    assert all(Path(file).is_file() for file in listing.cases["path"])
    assert list(listing.cases["target"]) == [0, 1, 0, 1]
    assert list(listing.cases["group"]) == ["a", "b", "c.v2", "d"]
    assert set(listing.cases["source"]) == {"clinic"}
    assert not listing.warnings


def test_a_plain_csv_is_read_from_its_own_folder(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(images, "image,target", "a,1", "b,0", "c.v2,0")
    monkeypatch.chdir(images)
    listing = read_sources([], [], [Path("clinic.csv")], [], MELANOMA)
    assert list(listing.cases["path"]) == ["a.jpg", "b.JPG", "c.v2.png"]
    assert not listing.warnings


def test_two_lists_may_share_a_folder(images: Path) -> None:
    one = write_list(images, "image,target", "a,1", "b,0")
    other = one.rename(images / "other.csv")
    one = write_list(images, "image,target", "c.v2,0")
    assert not read_sources([], [], [one, other], [], MELANOMA).warnings


def test_a_plain_csv_may_hold_all_columns_of_a_case(images: Path) -> None:
    path = write_list(
        images,
        "image,target,source,patient_id,lesion_id,sex,age_approx,anatom_site,diagnosis",
        "a,1,ward,17,3,male,60,lateral torso,melanoma",
        "b,0,,,3,,,,unknown",
    )
    first, second = read_sources([], [], [path], [], MELANOMA, with_images=False).cases.to_dict(
        "records"
    )
    assert (first["source"], first["group"], first["anatom_site"]) == ("ward", "17", "torso")
    assert (second["source"], second["group"], second["diagnosis"]) == ("clinic", "3", "")


def test_a_column_that_a_plain_csv_cannot_have_is_named(images: Path) -> None:
    path = write_list(images, "image,target,patient", "a,1,17", "b,0,17")
    listing = read_sources([], [], [path], [], MELANOMA, with_images=False)
    (warning,) = listing.warnings
    assert f"{path}, line 1: column patient is not known" in warning
    assert "patient_id" in warning


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["image,label", "a,1"], "column target is missing. Found: image, label"),
        (["image,target", "a,2"], "line 2: target '2' should be 0 or 1"),
        (["image,target", "a,"], "line 2: target '' should be 0 or 1"),
        (["image,target", "a,1", "sub/,1"], "line 3: image '' should be the name of an image"),
        (["image,target", "a,1,x"], "line 2 has more cells than line 1"),
        (["image,target"], "has no rows"),
        ([], "cannot be read as CSV"),
        (["image,target", "a,1", "sub/a.png,0"], "line 3: a already stands in .*line 2, with"),
        (["image,target,age_approx", "a,1,abc"], "line 2: age_approx 'abc' should be years"),
        (["image,target,diagnosis", "a,1,wart"], "line 2: diagnosis 'wart' should be one of"),
        (
            ["image,target,diagnosis", "a,1,melanoma", "b,1,nevus"],
            "line 3: target '1' should be 1 where the diagnosis is melanoma and 0",
        ),
    ],
)
def test_a_wrong_cell_of_a_plain_csv_is_named_with_its_line(
    images: Path, lines: list[str], complaint: str
) -> None:
    path = write_list(images, *lines)
    with pytest.raises(TrainingError, match=f"clinic.csv.*{complaint}"):
        read_sources([], [], [path], [], MELANOMA, with_images=False)


def test_a_diagnosis_must_agree_with_the_target_under_the_label_that_is_asked_for(
    images: Path,
) -> None:
    path = write_list(images, "image,target,diagnosis", "a,1,basal cell carcinoma", "b,1,")
    assert read_sources([], [], [path], [], MALIGNANT, with_images=False).cases["target"].all()
    with pytest.raises(TrainingError, match="line 2: target '1' .*under the label 'melanoma'"):
        read_sources([], [], [path], [], MELANOMA, with_images=False)


def test_a_source_that_is_not_known_is_described_by_its_name() -> None:
    assert describe_source("isic2020").title.startswith("ISIC 2020")
    assert describe_source("clinic").title == "clinic"
    assert "not known here" in describe_source("clinic").attribution[0]


@pytest.mark.skipif(not REAL.exists(), reason="the real ISIC images are not on this machine")
def test_real_isic2019_gives_its_known_counts() -> None:
    listing = read_sources([REAL], [], [], [], MELANOMA)
    assert (len(listing.cases), listing.cases["target"].sum()) == (12_303, 1_540)
    assert not listing.warnings


@pytest.mark.skipif(not REAL2020.exists(), reason="the real ISIC images are not on this machine")
def test_real_isic2020_gives_its_known_counts() -> None:
    cases = read_isic2020(REAL2020)
    assert (len(cases), cases["target"].sum(), cases["group"].nunique()) == (266, 39, 130)


@pytest.mark.skipif(not METADATA.exists(), reason="the real ISIC metadata is not on this machine")
@pytest.mark.parametrize(
    ("name", "positives"),
    [("melanoma", 4_522), ("malignant", 8_473), ("malignant with actinic keratosis", 9_340)],
)
def test_the_full_metadata_gives_its_known_counts(name: str, positives: int) -> None:
    cases = read_sources([METADATA], [METADATA], [], [], TARGETS[name], with_images=False).cases
    counts = cases.groupby("source")["target"].agg(["size", "sum"])
    assert list(counts.loc["isic2019"]) == [25_331, positives]
    assert list(counts.loc["isic2020"]) == [33_126, 584]
