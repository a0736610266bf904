import shutil
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image

from processing.drawing import draw_lesion
from processing.image import read_square
from tests.bombs.jpeg import repeat_scans
from tests.training.archives import (
    SETTINGS,
    build_isic2019,
    hash_files,
    list_isic2019,
    write_isic2020,
)
from tests.training.kaggle_sets import write_kaggle_set
from training.build.build import build_folders
from training.build.sources import read_sources
from training.data.batches import decode_records, read_records
from training.data.folder import BuildSettings, read_data, read_dropped
from training.data.tfrecords import FEATURES, parse_example
from training.data.vocabulary import TARGETS
from training.errors import TrainingError

IMAGES = "ISIC_2019_Training_Input"


@pytest.fixture
def copy(data: epath.Path, tmp_path: Path) -> epath.Path:
    return epath.Path(shutil.copytree(data, tmp_path / "copy"))


@pytest.fixture
def broken(archive: Path, tmp_path: Path) -> Path:
    """A copy of the archive that a test may damage."""
    return Path(shutil.copytree(archive, tmp_path / "archive"))


def test_shards_are_named_by_their_number_of_records(data: epath.Path) -> None:
    for shard in read_data(data).shards():
        records = sum(1 for _ in tf.data.TFRecordDataset(str(shard)))
        assert shard.stem.split("-")[1] == str(records)


def test_records_hold_the_case(data: epath.Path) -> None:
    built = read_data(data)
    cases = built.cases.set_index("image_name")
    for shard in (0, 3):
        (path,) = built.shards([shard])
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            parsed = parse_example(record)
            case = cases.loc[parsed["image_name"].numpy().decode()]
            assert set(parsed) == set(FEATURES)
            assert int(parsed["target"]) == case["target"]
            assert parsed["group"].numpy().decode() == case["group"]
            assert (int(parsed["width"]), int(parsed["height"])) == (case["width"], case["height"])
            assert int(parsed["patient_id"]) == -1
            assert case["shard"] == shard


def test_the_same_build_twice_gives_the_same_bytes(
    archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    build_isic2019(archive, tmp_path / "again")
    assert hash_files(tmp_path / "again") == hash_files(data)


def test_several_processes_give_the_same_bytes_as_one(
    archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    out = epath.Path(tmp_path / "two")
    build_folders(list_isic2019(archive), [], [SETTINGS], out, processes=2)
    assert hash_files(out) == hash_files(data)


def test_two_sizes_in_one_pass_are_what_each_gives_alone(
    archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    large = SETTINGS.model_copy(update={"size": 80, "crop_fraction": 0.5})
    build_folders(list_isic2019(archive), [], [SETTINGS, large], epath.Path(tmp_path / "both"))
    build_isic2019(archive, tmp_path / "large", large)
    assert hash_files(tmp_path / "both" / "64") == hash_files(data)
    assert hash_files(tmp_path / "both" / "80") == hash_files(tmp_path / "large")
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"64", "80"}


def test_a_large_photo_is_cut_for_each_size_as_the_app_cuts_it(
    photo_archive: Path, tmp_path: Path
) -> None:
    """The two sizes are decoded at different scales, as they would be alone."""
    settings = [
        BuildSettings(size=size, crop_fraction=crop, shards=2, seed=0)
        for size, crop in ((224, 0.6), (96, 0.9))
    ]
    out = epath.Path(tmp_path / "both")
    build_folders(list_isic2019(photo_archive), [], settings, out)
    for one in settings:
        built = read_data(out / str(one.size))
        for record in decode_records(read_records(built.shards()), one.size, batch_size=1):
            name = record["image_name"].numpy()[0].decode()
            photo = (photo_archive / IMAGES / f"{name}.jpg").read_bytes()
            served = read_square(photo, size=one.size, crop_fraction=one.crop_fraction)
            assert (record["image"].numpy()[0] == served.pixels).all()


def test_a_source_with_a_crop_of_its_own_is_cut_by_that_and_others_as_before(
    archive: Path, tmp_path: Path
) -> None:
    clinic = tmp_path / "clinic.csv"
    rows = ["image,target"]
    for i in range(8):
        lesion = Image.fromarray(draw_lesion(500 + i, 96, irregular=i < 4))
        lesion.save(tmp_path / f"clinic{i}.png")
        rows.append(f"clinic{i},{int(i < 4)}")
    clinic.write_text("\n".join(rows))
    listing = read_sources(TARGETS["melanoma"], isic2019=[epath.Path(archive)], csv=[clinic])
    settings = SETTINGS.model_copy(update={"source_crops": {"clinic": 0.5}})
    out = epath.Path(tmp_path / "out")
    build_folders(listing, [], [settings], out, processes=2)
    read = read_data(out)
    assert read.build.settings.source_crops == {"clinic": 0.5}
    paths = listing.cases.set_index("image_name")["path"]
    sources = read.cases.set_index("image_name")["source"]
    for record in decode_records(read_records(read.shards()), SETTINGS.size, batch_size=1):
        name = record["image_name"].numpy()[0].decode()
        crop = 0.5 if sources[name] == "clinic" else 0.8
        photo = Path(paths[name]).read_bytes()
        square = read_square(photo, size=SETTINGS.size, crop_fraction=crop).pixels
        assert (record["image"].numpy()[0] == square).all(), name


@pytest.fixture(scope="module")
def photo_archive(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's first eight images as photos of 2400 x 1600 pixels, one of them sideways."""
    folder = tmp_path_factory.mktemp("photos") / "archive"
    shutil.copytree(archive, folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    for csv in folder.glob("*.csv"):
        table = pd.read_csv(csv).sort_values("image")
        table.iloc[[0, 1, 2, 3, 40, 41, 42, 43]].to_csv(csv, index=False)
    kept = set(table.iloc[[0, 1, 2, 3, 40, 41, 42, 43]]["image"])
    for path in sorted((folder / IMAGES).iterdir()):
        if path.stem not in kept:
            path.unlink()
            continue
        with Image.open(path) as image:
            photo = image.resize((2400, 1600))
        photo.save(path, exif=exif if path.stem == "DRAWN_0000000" else Image.Exif())
    return folder


def test_another_size_in_the_same_folder_is_refused(archive: Path, copy: epath.Path) -> None:
    with pytest.raises(TrainingError, match="size 64 there, 32 now"):
        build_isic2019(archive, copy, SETTINGS.model_copy(update={"size": 32}))


def test_another_rule_in_the_same_folder_is_refused(archive: Path, copy: epath.Path) -> None:
    pairs = [("DRAWN_0000000", "DRAWN_0000001")]
    with pytest.raises(TrainingError, match="other images, metadata or rules"):
        build_folders(list_isic2019(archive), pairs, [SETTINGS], copy)


def test_a_folder_that_holds_something_else_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(TrainingError, match="not empty"):
        build_isic2019(archive, tmp_path)


def test_a_finished_build_is_left_alone(archive: Path, copy: epath.Path) -> None:
    def times() -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted(Path(copy).iterdir())]

    before = times()
    build_isic2019(archive, copy)
    assert times() == before


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda b: b[: len(b) // 2], "incomplete"),
        (lambda _: b"", "empty"),
        (lambda _: repeat_scans(3500), "far more parts"),  # made to harm
    ],
)
def test_a_damaged_image_is_left_out_by_name(
    broken: Path, tmp_path: Path, damage, complaint: str
) -> None:
    image = broken / IMAGES / "DRAWN_0000040.jpg"
    image.write_bytes(damage(image.read_bytes()))
    built = build_isic2019(broken, tmp_path / "out")
    dropped = read_dropped(epath.Path(tmp_path / "out"))
    assert (built.images, built.dropped) == (79, {"unreadable": 1})
    assert dropped["image_name"].tolist() == ["DRAWN_0000040"]
    assert complaint in dropped["detail"].item()
    assert "DRAWN_0000040.jpg" in built.warnings[0]


def test_a_strict_build_stops_at_a_damaged_image_and_resumes_once_it_is_replaced(
    broken: Path, data: epath.Path, tmp_path: Path
) -> None:
    image = broken / IMAGES / "DRAWN_0000040.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:500])
    out = epath.Path(tmp_path / "out")
    with pytest.raises(TrainingError, match=r"--strict: .*DRAWN_0000040.jpg: .*damaged"):
        build_folders(list_isic2019(broken), [], [SETTINGS], out, strict=True)
    with pytest.raises(TrainingError, match="unfinished"):
        read_data(out)
    image.write_bytes(whole)
    build_folders(list_isic2019(broken), [], [SETTINGS], out, strict=True)
    assert read_data(out).build == read_data(data).build


def test_every_listed_image_is_kept_or_dropped_with_a_reason(broken: Path, tmp_path: Path) -> None:
    images = sorted((broken / IMAGES).iterdir())
    images[3].unlink()
    images[4].write_bytes(b"")
    shutil.copy(images[5], images[6])
    listing, out = list_isic2019(broken), epath.Path(tmp_path / "out")
    build_folders(listing, [("DRAWN_0000070", "DRAWN_0000071")], [SETTINGS], out)
    dropped = read_dropped(out)
    assert sorted(dropped["rule"]) == [
        "absent", "exact duplicate", "official duplicate", "unreadable",
    ]  # fmt: skip
    names = [*read_data(out).cases["image_name"], *dropped["image_name"]]
    assert sorted(names) == sorted(listing.cases["image_name"])


def test_an_absent_image_is_left_out_or_with_strict_refused(broken: Path, tmp_path: Path) -> None:
    (broken / IMAGES / "DRAWN_0000040.jpg").unlink()
    listing, out = list_isic2019(broken), epath.Path(tmp_path / "out")
    with pytest.raises(TrainingError, match=r"--strict: .*DRAWN_0000040"):
        build_folders(listing, [], [SETTINGS], out, strict=True)
    assert not out.exists()
    (built,) = build_folders(listing, [], [SETTINGS], out).values()
    assert (built.images, built.dropped) == (79, {"absent": 1})


def test_one_picture_in_two_archives_is_kept_once_and_joins_its_groups(
    archive: Path, tmp_path: Path
) -> None:
    """Both archives draw the same lesions, under other names and sizes."""
    isic2020 = write_isic2020(tmp_path / "isic2020", patients=16, side=96)
    archives = {"isic2019": [epath.Path(archive)], "isic2020": [epath.Path(isic2020)]}
    out = epath.Path(tmp_path / "out")
    build_folders(read_sources(TARGETS["melanoma"], **archives), [], [SETTINGS], out)
    dropped, cases = read_dropped(out), read_data(out).cases
    assert set(dropped["rule"]) == {"exact duplicate"}
    assert "DRAWN_0000008" in set(dropped["image_name"])
    of_both = cases[
        cases["image_name"].isin(["DRAWN20_0000008", "DRAWN20_0000009", "DRAWN_0000009"])
    ]
    assert of_both["group"].tolist() == ["M_4"] * 3


def test_a_build_apart_from_another_shares_no_picture_with_it(
    archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    """The other archive draws some of the same lesions, and from the 80th on others."""
    isic2020 = write_isic2020(tmp_path / "isic2020", patients=60, side=96)
    listing = read_sources(TARGETS["melanoma"], isic2020=[epath.Path(isic2020)])
    other = read_data(data)
    settings = SETTINGS.model_copy(update={"shards": 2, "apart_from": (other.build.cases_sha256,)})
    out = epath.Path(tmp_path / "out")
    build_folders(listing, [], [settings], out, apart=[other])
    dropped, cases = read_dropped(out), read_data(out).cases
    assert set(dropped["rule"]) == {"in a set apart"}
    assert {"DRAWN20_0000008", "DRAWN20_0000009"} <= set(dropped["image_name"])
    assert not set(cases["phash"]) & set(other.cases["phash"])


def test_a_set_with_red_and_blue_swapped_is_warned_of(archive: Path, tmp_path: Path) -> None:
    swapped = write_isic2020(tmp_path / "isic2020", patients=20, side=96)
    for path in (swapped / "train").iterdir():
        with Image.open(path) as image:
            red, green, blue = image.split()
        Image.merge("RGB", (blue, green, red)).save(path, quality=95)
    archives = {"isic2019": [epath.Path(archive)], "isic2020": [epath.Path(swapped)]}
    listing = read_sources(TARGETS["melanoma"], **archives)
    (built,) = build_folders(listing, [], [SETTINGS], epath.Path(tmp_path / "out")).values()
    assert len(built.warnings) == 1
    assert "isic2020/train: red and blue look swapped" in built.warnings[0]


def test_a_public_kaggle_set_is_a_source_beside_others(archive: Path, tmp_path: Path) -> None:
    kaggle = write_kaggle_set(tmp_path / "melanoma-96x96", 40, size=96, prefix="DRAWNK")
    sources = {"isic2019": [epath.Path(archive)], "kaggle": [epath.Path(kaggle)]}
    out = epath.Path(tmp_path / "out")
    whole = SETTINGS.model_copy(update={"crop_fraction": 1.0})
    build_folders(read_sources(TARGETS["melanoma"], **sources), [], [whole], out, processes=2)
    cases = read_data(out).cases
    kept = cases["source"].value_counts()
    assert kept["melanoma-96x96"] + read_dropped(out)["source"].eq("melanoma-96x96").sum() == 40
    patient = cases[cases["patient_id"] == "melanoma-96x96:3"]
    assert patient["image_name"].tolist() == ["DRAWNK_0000006", "DRAWNK_0000007"]


def test_a_table_that_was_changed_by_hand_is_refused(copy: epath.Path) -> None:
    table = copy / "cases.csv"
    table.write_text(table.read_text().replace("M_4", "M_5"))
    with pytest.raises(TrainingError, match=r"cases.csv was changed"):
        read_data(copy)


def test_a_folder_that_is_not_a_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a data folder.*training build"):
        read_data(epath.Path(tmp_path))
