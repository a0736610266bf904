import base64
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from PIL import Image

from processing.drawing import draw_lesion
from tests.training.archives import SETTINGS, forget_hashes
from tests.training.html_page import Page
from tests.training.kaggle_sets import ISIC2019_ABSENT, write_kaggle_set
from training.build.build import build_folders
from training.build.sources import read_sources
from training.data.folder import DROPPED, read_data, read_dropped
from training.data.tfrecords import encode_example, read_examples, write_shard
from training.data.vocabulary import TARGETS
from training.errors import TrainingError
from training.inspect import sheets
from training.inspect.report import write_report

IMAGES, ABSENT, COPIES = 40, 60, 2

Report = Callable[[Path], Page]


def write_clinic(folder: Path) -> epath.Path:
    """Write a CSV file of drawn lesions: half of the ages missing, some images absent or twice."""
    folder.mkdir()
    rows = ["image,target,sex,age_approx"]
    for i in range(IMAGES + COPIES + ABSENT):
        sex = ("female", "male", "")[i % 3]
        rows.append(f"image{i:03d}.jpg,{int(i % 4 == 0)},{sex},{'' if i % 2 else i}")
        if i < IMAGES + COPIES:
            lesion = draw_lesion(i % IMAGES, 64, irregular=i % 4 == 0)
            Image.fromarray(lesion).save(folder / f"image{i:03d}.jpg", quality=95)
    (folder / "clinic.csv").write_text("\n".join(rows))
    return epath.Path(folder / "clinic.csv")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    folder = tmp_path_factory.mktemp("clinic")
    listing = read_sources(TARGETS["melanoma"], csv=[write_clinic(folder / "photos")])
    build_folders(listing, [], [SETTINGS], epath.Path(folder / "built"))
    return epath.Path(folder / "built")


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A function that writes the page of a data folder and reads it again."""

    def write(folder: Path) -> Page:
        found = epath.Path(folder)
        dropped = read_dropped(found) if (found / DROPPED).exists() else None
        write_report(read_data(found), dropped, epath.Path(tmp_path / "report.html"))
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write


def test_the_counts_of_every_breakdown_add_up_to_the_images(
    clinic: epath.Path, report: Report
) -> None:
    counts = report(clinic).counts
    assert len(counts) == 8
    for rows in counts.values():
        assert sum(int(row[1]) for row in rows) == IMAGES
        assert sum(int(row[2]) for row in rows) == IMAGES // 4


def test_missing_values_are_counted_and_come_last(clinic: epath.Path, report: Report) -> None:
    counts = report(clinic).counts
    assert counts["Sex"][0] == ["female", "14", "4", "28.6%", "14"]
    assert counts["Sex"][-1][:3] == ["missing", "13", "3"]
    assert [row[:2] for row in counts["Age in years"]] == [
        *(["0 to 9", "5"], ["10 to 19", "5"], ["20 to 29", "5"], ["30 to 39", "5"]),
        ["missing", "20"],
    ]
    assert [row[0] for row in counts["Diagnosis"]] == ["missing"]


def test_shards_and_sizes_are_shown(clinic: epath.Path, report: Report) -> None:
    counts = report(clinic).counts
    assert [row[0] for row in counts["Shard"]] == ["00", "01", "02", "03"]
    assert counts["Size of the photo"] == [["64x64", "40", "10", "25.0%", "40"]]
    assert counts["Images per group"] == [["1", "40", "10", "25.0%", "40"]]


def test_what_was_dropped_is_counted_and_its_first_rows_are_listed(
    clinic: epath.Path, report: Report
) -> None:
    page = report(clinic)
    rules, absent, copies = page.tables[-3:]
    assert rules[1:] == [["absent", "clinic", "60", "15"], ["exact duplicate", "clinic", "2", "1"]]
    assert len(absent[1:]) == 50
    assert absent[1][0] == "image042"
    assert copies[1] == ["image040", "clinic", "1", "of image000"]
    assert f"62 images, all listed in {clinic / DROPPED}." in page.text


def test_warnings_of_the_build_are_shown(clinic: epath.Path, report: Report) -> None:
    assert "image042.jpg is absent" in report(clinic).text


def test_the_contact_sheet_shows_as_many_positives_as_others(
    data: epath.Path, report: Report
) -> None:
    page = report(data)
    assert "Some positives: 24 of 32" in page.text
    assert "Some others: 24 of 48" in page.text
    assert page.text.count("melanoma, target 1") == page.text.count("nevus, target 0") == 24
    assert page.tags["img"] == len(set(page.sources)) == 48
    for source in page.sources:
        with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
            assert (image.format, image.size) == ("JPEG", (64, 64))


def test_the_contact_sheet_reads_no_more_shards_than_it_needs(
    data: epath.Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def read_and_note(shard: epath.Path, *keys: str) -> Iterator[dict[str, Any]]:
        opened.append(shard)
        return read_examples(shard, *keys)

    monkeypatch.setattr(sheets, "read_examples", read_and_note)
    assert report(data).tags["img"] == 48
    assert opened == read_data(data).shards()[:-1]


def test_the_page_needs_nothing_else(clinic: epath.Path, report: Report) -> None:
    page = report(clinic)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags["svg"] == 8


def test_the_same_data_give_the_same_page(data: epath.Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(read_data(data), read_dropped(data), epath.Path(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("absent", [(), (*ISIC2019_ABSENT, "age_approx")])
def test_a_public_kaggle_set_is_shown_with_what_it_lacks(
    report: Report, tmp_path: Path, absent: tuple[str, ...]
) -> None:
    page = report(write_kaggle_set(tmp_path / "melanoma-32x32", 24, 32, absent=absent))
    number = "24" if absent else "12"  # of groups: two images a patient
    size, images = ("missing", "1") if absent else ("6000x4000", "2")
    assert page.counts["Size of the photo"] == [[size, "24", "6", "25.0%", number]]
    assert page.counts["Images per group"] == [[images, "24", "6", "25.0%", number]]
    assert "This folder has no dropped.csv" in page.text
    assert page.tags["img"] == 24


def test_markup_in_names_is_shown_and_not_rendered(report: Report, tmp_path: Path) -> None:
    name = "<script>alert(1)</script> & $x_"
    page = report(write_kaggle_set(tmp_path / "<b> $x_$", 12, 32, prefix=name))
    assert not {"script", "b"} & set(page.tags)
    assert f"{name}_0000000" in page.text
    assert page.counts["Source"][0][0] == "<b> $x_$"


def test_a_damaged_shard_is_named(data: epath.Path, report: Report, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    forget_hashes(copy)
    shard = copy / read_data(data).build.shard_names[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=rf"{shard.name}: .*Build the data set again"):
        report(copy)


def test_an_image_that_cannot_be_read_is_named(
    data: epath.Path, report: Report, tmp_path: Path
) -> None:
    copy = epath.Path(shutil.copytree(data, tmp_path / "copy"))
    forget_hashes(Path(copy))
    there = read_data(copy)
    members = there.cases[there.cases["shard"] == 0].assign(patient_code=-1)
    records = (encode_example(case, b"no JPEG") for case in members.to_dict("records"))
    write_shard(there.shards()[0], records)
    with pytest.raises(TrainingError, match=r"tfrec: DRAWN_\d+ holds no image.* Build the"):
        report(copy)


def test_shards_that_lack_an_image_are_refused(
    data: epath.Path, report: Report, tmp_path: Path
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    forget_hashes(copy)
    names = read_data(data).build.shard_names
    shutil.copy(copy / names[3], copy / names[0])
    with pytest.raises(TrainingError, match="DRAWN_.* not in its shards"):
        report(copy)
