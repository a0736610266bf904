"""TFRecord shards -> batches."""

import io
from collections.abc import Sequence

import tensorflow as tf
from etils import epath
from PIL import Image

from training.augment import Augmentation, augment_batch
from training.errors import TrainingError
from training.tfrecords import decode_image, parse_example

# Encoded records held for shuffling: some 300 MB at 224 px, and all of a 12,000-image set.
SHUFFLE_RECORDS = 16_384


def make_training_dataset(
    shards: Sequence[epath.Path],
    size: int,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches of (images (B, S, S, 3) float32 0..255, target (B, 1) float32).

    Every epoch has its own order and its own draws; the same seed repeats them, and `first_step`
    goes on where a run that was cut off stopped.
    """

    def augment(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draw = tf.stack([tf.constant(seed, tf.int64), step])
        return augment_batch(batch["image"], augmentation, draw), batch["target"]

    records = (
        _read_records(shards)
        .shuffle(SHUFFLE_RECORDS, seed=seed)
        .repeat()
        .skip(first_step * batch_size)
        .map(lambda record: _decode(record, size), tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
    )
    steps = tf.data.Dataset.counter(first_step)
    return (
        tf.data.Dataset.zip((records, steps))
        .map(augment, tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def make_evaluation_dataset(
    shards: Sequence[epath.Path], size: int, batch_size: int
) -> tf.data.Dataset:
    """All records once, in order: batches of what `_decode` gives, image (B, S, S, 3) uint8."""
    return (
        _read_records(shards)
        .map(lambda record: _decode(record, size), tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def check_shards(shards: Sequence[epath.Path], size: int) -> None:
    """Look at the first record of each shard, so that a wrong file fails before hours of work.

    Raises:
        TrainingError: a shard is missing, empty, damaged, of another schema or another size.
    """
    for shard in shards:
        try:
            record = next(iter(_read_records([shard]).take(1).as_numpy_iterator()), None)
            if record is None:
                raise TrainingError(f"{shard} has no records. Build the data set again.")
            with Image.open(io.BytesIO(parse_example(record)["image"].numpy())) as image:
                found = image.size
        except (tf.errors.OpError, OSError) as error:
            message = getattr(error, "message", str(error))
            raise TrainingError(f"{shard}: {message} Build the data set again.") from error
        if found != (size, size):
            raise TrainingError(
                f"{shard}: its images are {found[0]}x{found[1]}, but build.json says {size}. "
                "This shard is of another data set: build this one again."
            )


def _read_records(shards: Sequence[epath.Path]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset([str(shard) for shard in shards])


def _decode(record: tf.Tensor, size: int) -> dict[str, tf.Tensor]:
    parsed = parse_example(record)
    return {
        "image": decode_image(parsed["image"], size),
        "target": tf.cast(parsed["target"], tf.float32)[None],
        "image_name": parsed["image_name"],
    }
