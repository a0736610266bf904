from pathlib import Path

import pytest

from tests.training.archives import write_isic2019, write_isic2020
from training.build.rules import drop_by_metadata
from training.build.sources import read_sources
from training.data.vocabulary import TARGETS, describe_source
from training.errors import TrainingError

MELANOMA, MALIGNANT = TARGETS["melanoma"], TARGETS["malignant"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_isic2019(tmp_path / "isic", melanomas=3, nevi=4, side=32)


def test_a_listed_image_that_is_absent_stays_in_the_table_with_a_warning(folder: Path) -> None:
    image = folder / "ISIC_2019_Training_Input" / "DRAWN_0000004.jpg"
    image.unlink()
    cases, (warning,) = read_sources(MELANOMA, isic2019=[folder])
    assert list(cases.loc[~cases["present"], "path"]) == [str(image)]
    truth = folder / "ISIC_2019_Training_GroundTruth.csv"
    assert f"{truth}, line 6: {image} is absent, one of 1 of the 7" in warning


@pytest.mark.parametrize("lies", [".tif", ".gif", ".dcm", ".txt", ".jpg.part", ""])
def test_a_file_of_another_kind_in_an_image_s_place_is_named(folder: Path, lies: str) -> None:
    image = folder / "ISIC_2019_Training_Input" / "DRAWN_0000004.jpg"
    other = image.rename(image.with_name(f"DRAWN_0000004{lies}"))
    cases, (warning,) = read_sources(MELANOMA, isic2019=[folder])
    assert f"{image} is absent ({other} lies there, which is none of .jpg, .jpeg, " in warning
    assert "convert the files of other kinds (1 of them)" in warning
    (dropped,) = drop_by_metadata(cases, [], None, 0).to_dict("records")
    assert (dropped["rule"], dropped["image_name"]) == ("absent", "DRAWN_0000004")
    assert f"line 6: {other} lies there, which is none of .jpg" in dropped["detail"]


def test_a_list_may_name_a_file_of_another_kind(images: Path) -> None:
    (images / "e.tif").touch()
    (images / "f.tif").touch()
    path = write_list(images, "image,target", "a,0", "e.tif,1", "f.png,1", "g,1")
    cases, warnings = read_sources(MELANOMA, csv=[path])
    assert cases["instead"].tolist() == ["", str(images / "e.tif"), str(images / "f.tif"), ""]
    assert "line 3: " in warnings[0]
    assert "one of 3 of the 4 images" in warnings[0]


def test_a_source_of_which_all_files_are_of_another_kind_is_refused(images: Path) -> None:
    (images / "e.tif").touch()
    path = write_list(images, "image,target", "e,1")
    with pytest.raises(TrainingError, match=r"e.tif lies there.*Download them, convert the files"):
        read_sources(MELANOMA, csv=[path])


def test_an_image_that_is_in_no_list_is_named(folder: Path) -> None:
    images = folder / "ISIC_2019_Training_Input"
    (images / "B.jpg").touch()
    (images / "C.jpg").touch()
    (images / "ATTRIBUTION.txt").touch()
    listing = read_sources(MELANOMA, isic2019=[folder])
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
        read_sources(MELANOMA, isic2019=[folder])


def test_without_images_no_file_is_looked_for(folder: Path) -> None:
    (folder / "ISIC_2019_Training_Input").rename(folder / "elsewhere")
    listing = read_sources(MELANOMA, isic2019=[folder], with_images=False)
    assert listing.cases["present"].all()
    assert not listing.warnings


def test_sources_are_read_into_one_table(folder: Path, tmp_path: Path) -> None:
    folder2020 = write_isic2020(tmp_path / "isic2020", patients=8)
    cases = read_sources(MELANOMA, isic2019=[folder], isic2020=[folder2020]).cases
    assert cases["source"].value_counts().to_dict() == {"isic2020": 16, "isic2019": 7}
    assert list(cases.index) == list(range(23))
    assert not cases.drop(columns="age_approx").isna().any(axis=None)


def test_one_name_in_two_archives_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"already stands in .*\(7 names stand twice\)"):
        read_sources(MELANOMA, isic2019=[folder, folder])


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(
        TrainingError, match="at least one --isic2019, --isic2020, --milk10k, --csv"
    ):
        read_sources(MELANOMA)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Files with these names; they are empty, since readers do not open them."""
    for name in ("a.jpg", "b.JPG", "c.v2.png", "sub/d.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write_list(folder: Path, *lines: str) -> Path:
    path = folder / "clinic.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_plain_csv_finds_its_images_with_and_without_extension(images: Path) -> None:
    path = write_list(images, "target,image", "0,a", "1,b.JPG", "0,c.v2", "1,sub/d")
    listing = read_sources(MELANOMA, csv=[path])
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
    listing = read_sources(MELANOMA, csv=[Path("clinic.csv")])
    assert list(listing.cases["path"]) == ["a.jpg", "b.JPG", "c.v2.png"]
    assert not listing.warnings


def test_two_lists_may_share_a_folder(images: Path) -> None:
    one = write_list(images, "image,target", "a,1", "b,0")
    other = one.rename(images / "other.csv")
    one = write_list(images, "image,target", "c.v2,0")
    assert not read_sources(MELANOMA, csv=[one, other]).warnings


def test_a_plain_csv_may_hold_all_columns_of_a_case(images: Path) -> None:
    path = write_list(
        images,
        "image,target,source,patient_id,lesion_id,sex,age_approx,anatom_site,diagnosis",
        "a,1,ward,17,3,male,60,lateral torso,melanoma",
        "b,0,,,3,,,,unknown",
    )
    first, second = read_sources(MELANOMA, csv=[path], with_images=False).cases.to_dict("records")
    assert (first["source"], first["group"], first["anatom_site"]) == ("ward", "17", "torso")
    assert (second["source"], second["group"], second["diagnosis"]) == ("clinic", "3", "")


def test_an_unknown_column_of_a_plain_csv_is_named(images: Path) -> None:
    path = write_list(images, "image,target,patient", "a,1,17", "b,0,17")
    listing = read_sources(MELANOMA, csv=[path], with_images=False)
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
        read_sources(MELANOMA, csv=[path], with_images=False)


def test_a_diagnosis_must_agree_with_the_target_under_the_chosen_label(
    images: Path,
) -> None:
    path = write_list(images, "image,target,diagnosis", "a,1,basal cell carcinoma", "b,1,")
    assert read_sources(MALIGNANT, csv=[path], with_images=False).cases["target"].all()
    with pytest.raises(TrainingError, match="line 2: target '1' .*under the label 'melanoma'"):
        read_sources(MELANOMA, csv=[path], with_images=False)


def test_an_unknown_source_is_described_by_its_name() -> None:
    assert describe_source("isic2020").title.startswith("ISIC 2020")
    assert describe_source("clinic").title == "clinic"
    assert "not known here" in describe_source("clinic").attribution[0]
