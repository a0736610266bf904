"""Read TFRecord shards as batches for training and prediction."""

import functools
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from etils import epath
from numpy.typing import NDArray
from PIL import Image

from training.data.augment import augment_batch, degrade, draw_changes, draw_mixtures, mix
from training.data.folder import Data
from training.data.strata import Draw
from training.data.tfrecords import decode_image, parse_example, read_examples
from training.data.vocabulary import DIAGNOSES
from training.errors import BUILD_AGAIN, TrainingError
from training.recipe import Augmentation

# Encoded records in the shuffle buffer: about 300 MB at 224 px, enough for a set of 12,000 images.
SHUFFLE_RECORDS = 16_384
_EPOCH_SEEDS = 65_536  # seeds reserved for the epochs of a fold: no two folds share an order


class Feeding(NamedTuple):
    """How training images become batches."""

    size: int  # pixels; images of a larger data set are resized
    batch_size: int  # over all devices
    steps_per_epoch: int
    epochs: int
    augmentation: Augmentation
    positive_weight: float
    draw: Draw  # how often each epoch shows each of the training cases
    diagnosis: bool  # also give the diagnosis as a label
    seed: int


def make_training_dataset(
    data: Data,
    cases: pd.DataFrame,
    feeding: Feeding,
    *,
    start: tuple[int, int] = (0, 0),
    rows: slice = slice(None),
) -> tf.data.Dataset:
    """Make the batches of all epochs: images (B, S, S, 3) float32 0..255, labels and weights.

    Labels (B, 1) float32 and weights (B,) float32 are those of the target. With
    `feeding.diagnosis`, both become pairs whose second item is that of the diagnosis: (B,) int64
    (with mixup (B, D) float32), and (B,) float32 that is 0 where the diagnosis is unknown.

    Every epoch has its own order and augmentation; the same seed repeats them.

    Args:
        cases: the rows of the table of cases to train on.
        start: epoch and step to resume from. The batches from there on equal those of a run that
            was never interrupted.
        rows: which rows of each batch this process feeds, where several processes train together.

    Raises:
        ValueError: `start` lies behind the last epoch.
    """
    labels = _Labels(cases)
    first_epoch, first_step = start
    if first_epoch >= feeding.epochs:
        raise ValueError(f"No epoch is left: start {start}, epochs {feeding.epochs}.")
    done = (first_epoch * feeding.steps_per_epoch + first_step) * feeding.batch_size
    records = _order_records(data, cases, labels, feeding, first_epoch)
    records = records.skip(first_step * feeding.batch_size).enumerate(done)
    first, last, _ = rows.indices(feeding.batch_size)
    if last - first < feeding.batch_size:
        records = _take_rows(records, first, last, feeding.batch_size)
    strength = feeding.augmentation

    def decode(number: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = parse_example(record)
        image = _decode(parsed, data.build.settings.size, feeding.size)
        seed = tf.stack([tf.cast(feeding.seed, tf.int64), number])
        return degrade(image, strength, seed), labels.row(parsed)

    def augment(batch: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> tuple[Any, ...]:
        images, row = batch
        seed = tf.stack([tf.constant(feeding.seed, tf.int64), step])
        changes = draw_changes(feeding.batch_size, seed)[first:last]
        images = augment_batch(images, strength, changes)
        if not strength.mixup:
            return images, *labels.read(row, feeding)
        shares = draw_mixtures(feeding.batch_size, strength, seed)[first:last]
        return mix(images, shares), *labels.mix(row, feeding, shares, len(data.diagnoses))

    batches = records.map(decode, tf.data.AUTOTUNE, deterministic=True).batch(
        last - first, drop_remainder=True
    )
    steps = tf.data.Dataset.counter(first_epoch * feeding.steps_per_epoch + first_step)
    options = tf.data.Options()
    options.threading.private_threadpool_size = os.cpu_count() or 1  # apart from the network's
    return (
        tf.data.Dataset.zip((batches, steps))
        .map(augment, tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def _order_records(
    data: Data, cases: pd.DataFrame, labels: "_Labels", feeding: Feeding, first_epoch: int
) -> tf.data.Dataset:
    """Chain the serialised records of all epochs from `first_epoch` on, each in its own order."""
    epochs = []
    for epoch in range(first_epoch, feeding.epochs):
        counts = feeding.draw.count_shown(epoch)
        seed = feeding.seed * _EPOCH_SEEDS + epoch
        shards = np.random.default_rng(seed).permutation(sorted(set(cases["shard"])))
        records = _choose(data, shards, labels, counts)
        # Keras reads one batch before it trains; that must not reshuffle the rest.
        shuffled = records.shuffle(SHUFFLE_RECORDS, seed, reshuffle_each_iteration=False)
        epochs.append(shuffled.take(feeding.steps_per_epoch * feeding.batch_size))
    return functools.reduce(tf.data.Dataset.concatenate, epochs)


class _Labels:
    """Labels from the table of cases: the codes in records differ between public sets."""

    def __init__(self, cases: pd.DataFrame) -> None:
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(cases["image_name"].to_list()), tf.range(len(cases), dtype=tf.int64)
            ),
            default_value=-1,
        )
        self._target = tf.constant(cases["target"].to_numpy(np.float32))
        codes = {name: code for code, name in enumerate(DIAGNOSES)}
        known = cases["diagnosis"].map(codes).fillna(-1)
        self._diagnosis = tf.constant(known.to_numpy(np.int64))

    def row(self, parsed: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the row of a record in the table, or -1 if it is not there."""
        return self._rows.lookup(parsed["image_name"])

    def count(self, record: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Return how often a record is shown, where `counts` (N,) int64 says it for each row."""
        row = self.row(parse_example(record))
        return tf.where(row < 0, tf.constant(0, tf.int64), tf.gather(counts, tf.maximum(row, 0)))

    def read(self, row: tf.Tensor, feeding: Feeding) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the labels and weights of rows (B,)."""
        target = tf.gather(self._target, row)
        weight = tf.where(target > 0, feeding.positive_weight, 1.0)
        if not feeding.diagnosis:
            return target[:, None], weight
        diagnosis = tf.gather(self._diagnosis, row)
        known = tf.cast(diagnosis >= 0, tf.float32)
        return (target[:, None], tf.maximum(diagnosis, 0)), (weight, known)

    def mix(
        self, row: tf.Tensor, feeding: Feeding, shares: tf.Tensor, diagnoses: int
    ) -> tuple[Any, Any]:
        """Return the labels and weights of mixed rows (B,); the diagnosis is (B, D) float32.

        A mixed label is the mean of both, weighted by what is left of each and by its own weight,
        so that the loss is the same mean of both losses.
        """
        labels, weights = self.read(row, feeding)
        if not feeding.diagnosis:
            return _mix_weighted(labels, weights, shares)
        one_hot = tf.one_hot(labels[1], diagnoses)
        target, weight = _mix_weighted(labels[0], weights[0], shares)
        diagnosis, known = _mix_weighted(one_hot, weights[1], shares)
        return (target, diagnosis), (weight, known)


def _mix_weighted(
    labels: tf.Tensor, weights: tf.Tensor, shares: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    mixed = mix(weights, shares)
    weighted = mix(labels * weights[:, None], shares)
    return tf.math.divide_no_nan(weighted, mixed[:, None]), mixed


def choose_records(data: Data, cases: pd.DataFrame) -> tf.data.Dataset:
    """Read the serialised records of some rows of the table of cases, shard after shard."""
    once = np.ones(len(cases), np.int64)
    return _choose(data, sorted(set(cases["shard"])), _Labels(cases), once)


def _choose(
    data: Data, shards: Iterable[int], labels: _Labels, counts: NDArray[np.int64]
) -> tf.data.Dataset:
    shards = list(shards)
    records = read_records(data.shards(shards))
    if len(counts) == data.cases["shard"].isin(shards).sum() and (counts == 1).all():
        return records
    numbers = tf.constant(counts)
    return records.flat_map(
        lambda record: tf.data.Dataset.from_tensors(record).repeat(labels.count(record, numbers))
    )


def _take_rows(records: tf.data.Dataset, first: int, last: int, batch_size: int) -> tf.data.Dataset:
    """Keep the numbered records `first` to `last` of each `batch_size`, still undecoded."""
    return records.filter(lambda i, _: (i % batch_size >= first) & (i % batch_size < last))


def decode_records(
    records: tf.data.Dataset, size: int, batch_size: int, resized: int | None = None
) -> tf.data.Dataset:
    """Decode records into batches of image (B, S, S, 3) uint8, target (B, 1) and image_name (B,).

    The order of the records stays.

    Args:
        size: side of the images in the records, pixels.
        resized: side S to resize them to, where it differs.
    """

    def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse_example(record)
        return {
            "image": _decode(parsed, size, resized or size),
            "target": tf.cast(parsed["target"], tf.float32)[None],
            "image_name": parsed["image_name"],
        }

    return (
        records.map(decode, tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def check_first_records(shards: Sequence[epath.Path], size: int) -> None:
    """Check the first record of each shard, so that a wrong file is found before hours of work.

    Raises:
        TrainingError: a shard is missing, empty, damaged, or has another schema or image size.
    """
    for shard in shards:
        record = next(read_examples(shard, "image"), None)
        if record is None:
            raise TrainingError(f"{shard} has no records. {BUILD_AGAIN}")
        try:
            with Image.open(io.BytesIO(record["image"])) as image:
                found = image.size
        except OSError as error:
            raise TrainingError(f"{shard}: {error}. {BUILD_AGAIN}") from error
        if found != (size, size):
            raise TrainingError(
                f"{shard}: its images are {found[0]}x{found[1]}, but build.json says {size}. "
                "This shard belongs to another data set. Build this one again."
            )


def read_records(shards: Sequence[epath.Path]) -> tf.data.Dataset:
    """Read the serialised records of some shards, one shard after the other."""
    return tf.data.TFRecordDataset([str(shard) for shard in shards])


def _decode(parsed: dict[str, tf.Tensor], size: int, resized: int) -> tf.Tensor:
    image = decode_image(parsed["image"], size)
    if resized == size:
        return image
    smaller = tf.image.resize(image, (resized, resized), "bicubic", antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(smaller, 0.0, 255.0)), tf.uint8)
