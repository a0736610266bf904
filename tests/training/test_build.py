import hashlib
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from tests.training.archives import SETTINGS
from training.build import build, read_build, read_cases
from training.errors import TrainingError
from training.metadata import read_isic2019
from training.tfrecords import FEATURES, parse_example


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "copy"))


def test_shards_are_named_by_their_number_of_records(data: Path) -> None:
    for shard in data.glob("*.tfrec"):
        records = sum(1 for _ in tf.data.TFRecordDataset(str(shard)))
        assert shard.stem.split("-")[1] == str(records)


def test_records_hold_the_case(data: Path) -> None:
    cases = read_cases(data).set_index("image_name")
    shard = data / read_build(data).shard_names[0]
    parsed = parse_example(next(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()))
    case = cases.loc[parsed["image_name"].numpy().decode()]
    assert set(parsed) == set(FEATURES)
    assert int(parsed["target"]) == case["target"]
    assert parsed["group"].numpy().decode() == case["group"]
    assert (int(parsed["width"]), int(parsed["height"])) == (case["width"], case["height"])
    assert int(parsed["patient_id"]) == -1
    assert case["shard"] == 0


def test_the_same_build_twice_gives_the_same_bytes(
    archive: Path, data: Path, tmp_path: Path
) -> None:
    build(read_isic2019(archive), SETTINGS, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(data)


def test_a_build_that_was_killed_goes_on_to_the_same_bytes(
    archive: Path, data: Path, copy: Path
) -> None:
    names = read_build(copy).shard_names
    planned = (copy / "build.json").read_text()
    (copy / "build.json").write_text(planned.replace('"complete": true', '"complete": false'))
    (copy / names[1]).rename(copy / f".partial-{names[1]}")
    (copy / "cases.csv").unlink()
    before = (copy / names[0]).stat().st_mtime_ns
    build(read_isic2019(archive), SETTINGS, copy)
    assert digests(copy) == digests(data)
    assert (copy / names[0]).stat().st_mtime_ns == before


def test_another_size_in_the_same_folder_is_refused(archive: Path, copy: Path) -> None:
    with pytest.raises(TrainingError, match="size 64 there, 32 now"):
        build(read_isic2019(archive), SETTINGS.model_copy(update={"size": 32}), copy)


def test_other_images_in_the_same_folder_are_refused(archive: Path, copy: Path) -> None:
    cases = read_isic2019(archive).iloc[:-1]
    with pytest.raises(TrainingError, match="other images"):
        build(cases, SETTINGS, copy)


def test_a_folder_that_holds_something_else_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(TrainingError, match="not empty"):
        build(read_isic2019(archive), SETTINGS, tmp_path)


@pytest.mark.parametrize(
    ("damage", "complaint"), [(lambda b: b[: len(b) // 2], "cut off"), (lambda _: b"", "empty")]
)
def test_a_damaged_image_is_named_and_no_torn_shard_stays(
    archive: Path, tmp_path: Path, damage, complaint: str
) -> None:
    broken = Path(shutil.copytree(archive, tmp_path / "archive"))
    image = broken / "ISIC_2019_Training_Input" / "DRAWN_0000040.jpg"
    image.write_bytes(damage(image.read_bytes()))
    with pytest.raises(TrainingError, match=f"DRAWN_0000040.jpg: .*{complaint}"):
        build(read_isic2019(broken), SETTINGS, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(TrainingError, match="unfinished"):
        read_build(tmp_path / "out")


def test_a_folder_that_is_no_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a data folder.*training build"):
        read_build(tmp_path)
