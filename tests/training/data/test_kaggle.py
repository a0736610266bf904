import io
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from tests.training.kaggle_sets import ISIC2019_ABSENT, encode_record, write_kaggle_set
from training.build.sources import read_sources
from training.data.kaggle import find_shards, read_jpeg, read_kaggle
from training.data.vocabulary import TARGETS
from training.errors import TrainingError

MELANOMA = TARGETS["melanoma"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle_set(tmp_path_factory.mktemp("sets") / "melanoma-32x32", 24, 32)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / written.name)


def test_a_public_set_is_read_as_cases_without_guessing_at_its_codes(folder: Path) -> None:
    listing = read_sources(MELANOMA, kaggle=[folder])
    case = listing.cases.set_index("image_name").loc["DRAWNK_0000008"]
    assert (case["target"], case["age_approx"], case["group"]) == (1, 48.0, "melanoma-32x32:4")
    assert (case["sex"], case["anatom_site"], case["diagnosis"]) == ("", "", "")
    assert case["listed"] == f"{folder / 'train01-8.tfrec'}, record 3"
    assert set(listing.cases["source"]) == {"melanoma-32x32"}
    assert (len(listing.cases), listing.cases["target"].sum()) == (24, 6)
    assert not listing.warnings


def test_a_set_without_patients_and_sizes_is_grouped_by_image(tmp_path: Path) -> None:
    folder = write_kaggle_set(tmp_path / "isic2019-32x32", 6, 32, absent=ISIC2019_ABSENT)
    cases, _ = read_kaggle(folder, MELANOMA)
    assert list(cases["group"]) == list(cases["image_name"])
    assert set(cases["patient_id"]) == {""}
    assert set(cases["width"]) == {-1}


def test_a_missing_age_is_nan(tmp_path: Path) -> None:
    folder = write_kaggle_set(tmp_path / "set", 6, 32, absent=["age_approx"])
    assert read_kaggle(folder, MELANOMA)[0]["age_approx"].isna().all()


def test_every_record_is_found_again_at_its_offset(folder: Path) -> None:
    for case in read_kaggle(folder, MELANOMA)[0].to_dict("records"):
        i = int(case["image_name"][-7:])
        with Image.open(io.BytesIO(read_jpeg(case["path"]))) as image:
            assert image.size == (32, 32)
        expected = tf.train.Example.FromString(encode_record(i, 32))
        assert read_jpeg(case["path"]) == expected.features.feature["image"].bytes_list.value[0]


def test_a_set_mixes_with_other_sources_in_one_table(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "clinic.csv"
    path.write_text("image,target\na,1\n")
    cases = read_sources(MELANOMA, csv=[path], kaggle=[folder], with_images=False).cases
    assert Counter(cases["source"]) == {"melanoma-32x32": 24, "clinic": 1}
    assert not cases.drop(columns="age_approx").isna().any(axis=None)


def test_another_label_than_melanoma_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match="melanoma-32x32: the target .*'malignant'"):
        read_kaggle(folder, TARGETS["malignant"])


def test_a_folder_without_training_records_is_refused(folder: Path) -> None:
    for shard in find_shards(folder):
        shard.rename(shard.with_name(shard.name.replace("train", "test")))
    with pytest.raises(TrainingError, match="holds no train"):
        read_kaggle(folder, MELANOMA)


@pytest.mark.parametrize("key", ["image", "image_name", "target"])
def test_a_missing_key_that_training_needs_is_named(tmp_path: Path, key: str) -> None:
    folder = write_kaggle_set(tmp_path / "set", 6, 32, absent=[key])
    with pytest.raises(TrainingError, match=f"train00-2.tfrec, record 1 has no {key}"):
        read_kaggle(folder, MELANOMA)


def cut_off(data: bytearray) -> None:
    del data[-100:]


def flip_a_bit_of_a_picture(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def flip_a_bit_of_a_length(data: bytearray) -> None:
    data[5] ^= 1


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit_of_a_picture, flip_a_bit_of_a_length])
def test_a_damaged_file_is_named_with_its_record(folder: Path, damage) -> None:
    shard = folder / "train01-8.tfrec"
    data = bytearray(shard.read_bytes())
    damage(data)
    shard.write_bytes(data)
    with pytest.raises(TrainingError, match=r"train01-8.tfrec, record \d: .*Download the file"):
        read_kaggle(folder, MELANOMA)


def test_a_file_of_other_records_is_refused(folder: Path) -> None:
    with tf.io.TFRecordWriter(str(folder / "train03-1.tfrec")) as writer:
        writer.write(bytes(range(255, 0, -1)))
    with pytest.raises(TrainingError, match=r"train03-1.tfrec, record 1: .* of another schema"):
        read_kaggle(folder, MELANOMA)


def test_a_file_with_fewer_records_than_its_name_says_is_refused(folder: Path) -> None:
    (folder / "train01-8.tfrec").rename(folder / "train01-9.tfrec")
    with pytest.raises(TrainingError, match="train01-9.tfrec holds 8 records, its name says 9"):
        read_kaggle(folder, MELANOMA)


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / "train01.tfrec").touch()
    with pytest.raises(TrainingError, match="train01.tfrec holds no records"):
        read_kaggle(folder, MELANOMA)


def test_a_patient_in_two_files_is_warned_of(folder: Path) -> None:
    with tf.io.TFRecordWriter(str(folder / "train03-1.tfrec")) as writer:
        writer.write(encode_record(0, 32, prefix="OTHER"))
    _, (warning,) = read_kaggle(folder, MELANOMA)
    assert f"{folder}: patient melanoma-32x32:0 is in train00-8.tfrec and in train03-1" in warning


@pytest.mark.parametrize(
    ("name", "offset"),
    [("train00-8.tfrec", 1), ("train00-8.tfrec", 10**9), ("absent.tfrec", 0), ("empty.tfrec", 0)],
)
def test_an_offset_where_no_record_starts_is_refused(folder: Path, name: str, offset: int) -> None:
    (folder / "empty.tfrec").write_bytes(struct.pack("<QI", 0, 0))
    with pytest.raises(TrainingError, match=f"{name}#{offset}: no record with an image"):
        read_jpeg(f"{folder / name}#{offset}")
