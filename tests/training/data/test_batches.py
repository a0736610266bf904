import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from etils import epath

from processing.image import read_square
from tests.training.archives import SETTINGS
from training.data.batches import (
    Feeding,
    check_first_records,
    choose_records,
    decode_records,
    make_training_dataset,
    read_records,
)
from training.data.folder import Data, read_data
from training.data.strata import draw_all, draw_balanced
from training.data.tfrecords import parse_example
from training.data.vocabulary import DIAGNOSES
from training.errors import TrainingError
from training.recipe import NO_AUGMENTATION as OFF
from training.recipe import Augmentation

FEEDING = Feeding(
    size=SETTINGS.size,
    batch_size=8,
    steps_per_epoch=5,
    epochs=3,
    augmentation=Augmentation(),
    positive_weight=4.0,
    draw=draw_all(pd.DataFrame({"target": [0] * 80})),  # each of the 80 images once
    diagnosis=False,
    seed=0,
)


def shards_of(data: epath.Path) -> list[epath.Path]:
    return read_data(data).shards()


def names_of(records: tf.data.Dataset) -> list[str]:
    names = records.map(lambda record: parse_example(record)["image_name"])
    return [name.decode() for name in names.as_numpy_iterator()]


def test_records_hold_the_pixels_that_the_app_sees(data: epath.Path, archive: Path) -> None:
    records = decode_records(read_records(shards_of(data)), SETTINGS.size, batch_size=1)
    for record in records.take(10):
        path = (
            archive / "ISIC_2019_Training_Input" / f"{record['image_name'].numpy()[0].decode()}.jpg"
        )
        served = read_square(
            path.read_bytes(), size=SETTINGS.size, crop_fraction=SETTINGS.crop_fraction
        )
        assert (record["image"].numpy()[0] == served.pixels).all()


def test_evaluation_gives_every_image_once(data: epath.Path) -> None:
    batches = decode_records(read_records(shards_of(data)), SETTINGS.size, 32)
    names = [name.decode() for batch in batches for name in batch["image_name"].numpy()]
    assert sorted(names) == sorted(read_data(data).cases["image_name"])


def test_the_seed_repeats_training_batches(read: Data) -> None:
    def first(seed: int) -> np.ndarray:
        batches = make_training_dataset(read, read.cases, FEEDING._replace(seed=seed))
        return next(iter(batches))[0].numpy()

    assert (first(1) == first(1)).all()
    assert (first(1) != first(2)).any()


STRONG = Augmentation(
    cutout=0.2, aspect=0.3, downscale=2, blur=0.02, jpeg=0.7, vignette=0.5, mixup=0.4
)


@pytest.fixture
def balanced(read: Data) -> Feeding:
    """Half of each epoch are melanomas, and everything that can be drawn is."""
    draw = draw_balanced(read.cases, ["target:1=0.5"], 40, seed=3)
    return FEEDING._replace(draw=draw, augmentation=STRONG)


@pytest.mark.slow
@pytest.mark.parametrize("start", [(0, 3), (1, 0), (2, 4)])
@pytest.mark.parametrize("drawn", [False, True], ids=["plain", "balanced"])
def test_batches_resume_where_a_run_stopped(
    read: Data, balanced: Feeding, start: tuple[int, int], drawn: bool
) -> None:
    epoch, step = start
    feeding = balanced if drawn else FEEDING
    undisturbed = list(make_training_dataset(read, read.cases, feeding))
    resumed = list(make_training_dataset(read, read.cases, feeding, start=start))
    assert len(undisturbed) == 15
    for ours, expected in zip(resumed, undisturbed[5 * epoch + step :], strict=True):
        for tensor, other in zip(ours, expected, strict=True):
            assert (tensor.numpy() == other.numpy()).all()


def test_an_epoch_shows_each_image_once_and_epochs_differ(read: Data) -> None:
    whole = FEEDING._replace(steps_per_epoch=10)
    batches = [images.numpy() for images, *_ in make_training_dataset(read, read.cases, whole)]
    assert len(batches) == 30
    still = whole._replace(augmentation=OFF, epochs=1)
    images = np.concatenate([b[0].numpy() for b in make_training_dataset(read, read.cases, still)])
    assert len(np.unique(images.round().reshape(len(images), -1), axis=0)) == len(read.cases)
    assert (batches[0] != batches[10]).any()


def test_a_balanced_epoch_shows_each_image_as_often_as_it_was_drawn(read: Data) -> None:
    balance = ["target:1=0.75"]
    draw = draw_balanced(read.cases, balance, 80, seed=3)
    once = FEEDING._replace(draw=draw, steps_per_epoch=10, epochs=2, augmentation=OFF)
    batches = list(make_training_dataset(read, read.cases, once))
    for epoch in (0, 1):
        images, target = (
            np.concatenate([batch[i].numpy() for batch in batches[10 * epoch : 10 * (epoch + 1)]])
            for i in (0, 1)
        )
        assert target.sum() == 60
        _, times = np.unique(images.round().reshape(80, -1), axis=0, return_counts=True)
        counts = draw.count_shown(epoch)
        assert sorted(times) == sorted(counts[counts > 0])


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [False, True], ids=["plain", "balanced"])
def test_several_processes_together_feed_the_batches_of_one(
    read: Data, balanced: Feeding, drawn: bool
) -> None:
    feeding = balanced if drawn else FEEDING

    def feed(rows: slice) -> list[list[np.ndarray]]:
        batches = make_training_dataset(read, read.cases, feeding, rows=rows)
        return [[tensor.numpy() for tensor in batch] for batch in batches]

    parts = zip(feed(slice(0, 4)), feed(slice(4, 8)), strict=True)
    for whole, (one, two) in zip(feed(slice(None)), parts, strict=True):
        for tensor, first, second in zip(whole, one, two, strict=True):
            np.testing.assert_allclose(tensor, np.concatenate([first, second]), atol=1e-3)


def test_positive_images_are_weighted_and_repeated(read: Data) -> None:
    draw = draw_all(read.cases, positives_repeated=2)
    twice = FEEDING._replace(draw=draw, batch_size=16, steps_per_epoch=7, epochs=1)
    batches = list(make_training_dataset(read, read.cases, twice))
    target = np.concatenate([target.numpy()[:, 0] for _, target, _ in batches])
    weight = np.concatenate([weight.numpy() for *_, weight in batches])
    assert (target.sum(), len(target)) == (64, 112)
    assert (weight == np.where(target == 1, 4.0, 1.0)).all()


def test_the_diagnosis_is_a_second_label_with_weight_only_where_it_is_known(read: Data) -> None:
    unknown = read.cases.assign(diagnosis=read.cases["diagnosis"].where(read.cases["target"] == 1))
    feeding = FEEDING._replace(diagnosis=True)
    for _, (target, diagnosis), (_, known) in make_training_dataset(read, unknown, feeding):
        assert (known.numpy() == target.numpy()[:, 0]).all()
        melanomas = diagnosis.numpy()[known.numpy() == 1]
        assert (melanomas == DIAGNOSES.index("melanoma")).all()


def test_mixed_labels_give_the_mean_of_both_losses(read: Data) -> None:
    unknown = read.cases.assign(diagnosis=read.cases["diagnosis"].where(read.cases["target"] == 1))
    apart = FEEDING._replace(diagnosis=True, augmentation=OFF, epochs=1)
    mixup = OFF.model_copy(update={"mixup": 1.0})
    mixed = apart._replace(augmentation=mixup)
    for plain, both in zip(
        *(make_training_dataset(read, unknown, each) for each in (apart, mixed)), strict=True
    ):
        images, (target, diagnosis), (weight, known) = tf.nest.map_structure(np.asarray, plain)
        blend, (blend_target, blend_diagnosis), (blend_weight, blend_known) = tf.nest.map_structure(
            np.asarray, both
        )
        one_hot = np.eye(len(DIAGNOSES), dtype=np.float32)[diagnosis]
        swapped = np.arange(len(images)) ^ 1
        differs = np.abs(images - images[swapped]).reshape(len(images), -1)
        share = np.abs(blend - images[swapped]).reshape(len(images), -1).sum(1) / differs.sum(1)
        assert (share >= 0.5 - 1e-4).all()
        for labels, weights, blended, blended_weight in (
            (target, weight, blend_target, blend_weight),
            (one_hot, known, blend_diagnosis, blend_known),
        ):
            expected = share[:, None] * labels * weights[:, None]
            expected += (1 - share[:, None]) * (labels * weights[:, None])[swapped]
            np.testing.assert_allclose(blended * blended_weight[:, None], expected, atol=1e-3)
            other = share * weights + (1 - share) * weights[swapped]
            np.testing.assert_allclose(blended_weight, other, atol=1e-3)


def test_records_of_some_cases_leave_the_others_out(read: Data) -> None:
    some = read.cases[read.cases["target"] == 1]
    assert sorted(names_of(choose_records(read, some))) == sorted(some["image_name"])


def test_images_are_made_smaller_where_a_smaller_size_is_asked_for(read: Data) -> None:
    images, *_ = next(iter(make_training_dataset(read, read.cases, FEEDING._replace(size=32))))
    assert images.shape == (8, 32, 32, 3)
    assert images.dtype == tf.float32


def test_a_shard_of_another_size_is_named(data: epath.Path) -> None:
    with pytest.raises(TrainingError, match=r"train00-.*64x64, but build.json says 224"):
        check_first_records(shards_of(data), 224)


def test_a_shard_that_is_gone_is_named(data: epath.Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="train00-1.tfrec"):
        check_first_records([epath.Path(tmp_path) / "train00-1.tfrec"], SETTINGS.size)


def test_a_torn_shard_is_named(data: epath.Path, tmp_path: Path) -> None:
    torn = epath.Path(shutil.copy(shards_of(data)[0], tmp_path))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(TrainingError, match="train00-"):
        check_first_records([torn], SETTINGS.size)
