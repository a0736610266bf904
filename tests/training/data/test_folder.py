"""Damaged shards, and text that a spreadsheet would run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from etils import epath

from tests.training.archives import SETTINGS, forget_hashes, list_isic2019
from training.__main__ import main
from training.build.build import build_folders
from training.data.batches import choose_records, decode_records, make_training_dataset
from training.data.folder import hash_shard, read_data, read_dropped
from training.data.tfrecords import naming_damage
from training.errors import BUILD_AGAIN, TrainingError
from training.files import release_cells, write_table
from training.recipe import TrainSettings
from training.train import cross_validation
from training.train.fold import Job


@pytest.fixture
def copy(data: epath.Path, tmp_path: Path) -> epath.Path:
    return epath.Path(shutil.copytree(data, tmp_path / "copy"))


def tear(shard: epath.Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def flip(shard: epath.Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))


def remove(shard: epath.Path) -> None:
    shard.unlink()


Damage = Callable[[epath.Path], None]
damages = pytest.mark.parametrize("damage", [tear, flip, remove])


def test_the_hash_of_each_shard_is_recorded(data: epath.Path) -> None:
    read = read_data(data)
    assert read.build.shard_sha256 == tuple(map(hash_shard, read.shards()))
    assert len(set(read.build.shard_sha256)) == 4


@damages
@pytest.mark.parametrize(
    "command",
    [
        ["audit", "--data", "{data}"],
        ["audit", "--data", "{other}", "--test", "{data}"],
        ["inspect", "{data}"],
        ["train", "--data", "{data}", "--run", "{data}/run"],
        ["compare", "--data", "{data}", "--run", "{data}/run"],
    ],
    ids=" ".join,
)
def test_a_damaged_shard_ends_a_command_at_its_start(
    copy: epath.Path, data: epath.Path, damage: Damage, command: list[str]
) -> None:
    shard = read_data(copy).shards()[2]
    damage(shard)
    names = {"data": copy, "other": data}
    result = CliRunner().invoke(main, [word.format(**names) for word in command])
    assert isinstance(result.exception, TrainingError)
    problem = "is missing" if damage is remove else "is damaged or was changed"
    assert str(result.exception).startswith(f"{shard} {problem}")
    assert str(result.exception).endswith(BUILD_AGAIN)
    assert not (copy / "run").exists()


@damages
def test_a_finished_build_with_a_damaged_shard_is_not_called_finished(
    archive: Path, copy: epath.Path, damage: Damage
) -> None:
    damage(read_data(copy).shards()[0])
    with pytest.raises(TrainingError, match=r"train00-\d+.tfrec is (missing|damaged)"):
        build_folders(list_isic2019(archive), [], [SETTINGS], copy)


def test_a_folder_without_hashes_is_read_unless_a_shard_is_missing(copy: epath.Path) -> None:
    forget_hashes(Path(copy))
    read = read_data(copy)
    assert read.build.shard_sha256 == ()
    read.shards()[1].unlink()
    with pytest.raises(TrainingError, match=r"train01-\d+.tfrec is missing"):
        read_data(copy)
    assert len(read_data(copy, shards=False).cases) == 80


@damages
def test_a_shard_that_is_damaged_later_is_named_as_it_is_read(
    copy: epath.Path, damage: Damage
) -> None:
    read = read_data(copy)
    damage(read.shards()[3])
    with (
        pytest.raises(TrainingError, match=r"train03-\d+.tfrec: .*Build the data") as raised,
        naming_damage(read.shards()),
    ):
        for _ in decode_records(choose_records(read, read.cases), SETTINGS.size, 32):
            pass
    assert len(str(raised.value).splitlines()) == 1
    assert "{{" not in str(raised.value)
    assert "[Op:" not in str(raised.value)


@pytest.mark.slow
def test_a_shard_that_is_damaged_during_training_is_named(
    copy: epath.Path,
    train_settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = read_data(copy)
    shard = read.shards()[3]

    def train_on_a_torn_shard(job: Job) -> None:  # without the network, which takes most of a fold
        tear(shard)
        for _ in make_training_dataset(job.data, job.split.training, job.feeding):
            pass

    monkeypatch.setattr(cross_validation, "train_fold", train_on_a_torn_shard)
    settings = train_settings.model_copy(update={"data": str(copy)})
    with pytest.raises(TrainingError, match=rf"{shard}: .*Build the data set again"):
        cross_validation.cross_validate(settings, read, tmp_path / "run", only_folds=[0])


TEXT = ["=1+1", "-5", "'=1", "@a", "+a", "plain", ""]


def test_text_that_a_spreadsheet_would_run_comes_back_as_it_was(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": TEXT, "number": np.arange(7) - 5.5, "count": range(-3, 4)})
    write_table(tmp_path / "table.csv", table)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[1:4] == ["'=1+1,-5.5,-3", "'-5,-4.5,-2", "''=1,-3.5,-1"]
    read = pd.read_csv(tmp_path / "table.csv", na_filter=False)
    pd.testing.assert_frame_equal(release_cells(read), table)


def test_a_data_folder_with_such_text_is_read_as_it_was_built(
    archive: Path, data: epath.Path, tmp_path: Path
) -> None:
    listing = list_isic2019(archive)
    names = listing.cases["image_name"].mask(listing.cases.index == 40, "=cmd()")
    lesions = listing.cases["lesion_id"].replace("M_4", "'@SUM(A1)").replace("N_30", "-30")
    paths = listing.cases["path"].mask(listing.cases.index == 70, "=absent.jpg")
    present = paths == listing.cases["path"]
    changed = listing.cases.assign(image_name=names, lesion_id=lesions, path=paths, present=present)
    out = epath.Path(tmp_path / "out")
    build_folders(listing._replace(cases=changed), [], [SETTINGS], out)
    text = (out / "cases.csv").read_text()
    assert "'=cmd()," in text
    assert ",''@SUM(A1)," in text
    cases = read_data(out).cases
    assert "=cmd()" in set(cases["image_name"])
    assert {"'@SUM(A1)", "-30"} <= set(cases["lesion_id"])
    assert read_dropped(out)["path"].tolist() == ["=absent.jpg"]
    # So did folders write it before they were guarded.
    text = text.replace("'=cmd()", "=cmd()").replace("''@SUM", "'@SUM").replace("'-30", "-30")
    (out / "cases.csv").write_text(text)
    pd.testing.assert_frame_equal(read_data(out).cases, cases)
