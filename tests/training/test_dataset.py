import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from processing.image import read_square
from tests.training.archives import SETTINGS
from training.augment import Augmentation
from training.data import read_data
from training.dataset import check_shards, make_evaluation_dataset, make_training_dataset
from training.errors import TrainingError


def shards_of(data: epath.Path) -> list[epath.Path]:
    return read_data(data).shards()


def test_records_hold_the_pixels_that_the_app_sees(data: epath.Path, archive: Path) -> None:
    records = make_evaluation_dataset(shards_of(data), SETTINGS.size, batch_size=1)
    for record in records.take(10):
        path = (
            archive / "ISIC_2019_Training_Input" / f"{record['image_name'].numpy()[0].decode()}.jpg"
        )
        served = read_square(
            path.read_bytes(), size=SETTINGS.size, crop_fraction=SETTINGS.crop_fraction
        )
        assert (record["image"].numpy()[0] == served.pixels).all()


def test_evaluation_gives_every_image_once(data: epath.Path) -> None:
    batches = make_evaluation_dataset(shards_of(data), SETTINGS.size, 32)
    names = [name.decode() for batch in batches for name in batch["image_name"].numpy()]
    assert sorted(names) == sorted(read_data(data).cases["image_name"])


def test_the_seed_repeats_training_batches(data: epath.Path) -> None:
    def first(seed: int) -> np.ndarray:
        batches = make_training_dataset(shards_of(data), SETTINGS.size, 8, Augmentation(), seed)
        return next(iter(batches))[0].numpy()

    assert (first(1) == first(1)).all()
    assert (first(1) != first(2)).any()


def test_batches_go_on_where_a_run_stopped(data: epath.Path) -> None:
    def start(first_step: int) -> tf.data.Dataset:
        shards = shards_of(data)
        return make_training_dataset(shards, SETTINGS.size, 8, Augmentation(), 0, first_step)

    undisturbed = list(start(0).take(15))[12:]
    for (images, targets), (expected, labels) in zip(start(12), undisturbed, strict=False):
        assert (images.numpy() == expected.numpy()).all()
        assert (targets.numpy() == labels.numpy()).all()


def test_a_second_epoch_has_other_draws(data: epath.Path) -> None:
    shard = shards_of(data)[:1]
    count = int(shard[0].stem.split("-")[1])
    batches = make_training_dataset(shard, SETTINGS.size, count, Augmentation(), seed=0)
    one, two = (images.numpy().mean() for images, _ in batches.take(2))
    assert one != two


def test_a_shard_of_another_size_is_named(data: epath.Path) -> None:
    with pytest.raises(TrainingError, match=r"train00-.*64x64, but build.json says 224"):
        check_shards(shards_of(data), 224)


def test_a_shard_that_is_gone_is_named(data: epath.Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="train00-1.tfrec"):
        check_shards([epath.Path(tmp_path) / "train00-1.tfrec"], SETTINGS.size)


def test_a_torn_shard_is_named(data: epath.Path, tmp_path: Path) -> None:
    torn = epath.Path(shutil.copy(shards_of(data)[0], tmp_path))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(TrainingError, match="train00-"):
        check_shards([torn], SETTINGS.size)
