"""Logits of a trained model, from one view of each image and from all eight orientations."""

import math
import sys
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from processing.bundle import ORIENTATIONS
from training.data.batches import choose_records, decode_records
from training.data.folder import Data
from training.data.tfrecords import parse_example
from training.errors import TrainingError

# Each orientation in few operations: whether rows become columns, and which axes are then reversed.
_MOVES: tuple[tuple[bool, tuple[int, ...]], ...] = (
    *((False, ()), (True, (1,)), (False, (1, 2)), (True, (2,))),  # quarter turns
    *((False, (2,)), (True, ()), (False, (1,)), (True, (1, 2))),  # of the mirror image
)


def orient(images: tf.Tensor, k: int) -> tf.Tensor:
    """Bring images (B, S, S, C) into orientation k, as `processing.bundle.orient`."""
    transposed, axes = _MOVES[k]
    images = tf.transpose(images, (0, 2, 1, 3)) if transposed else images
    return tf.reverse(images, axes) if axes else images


def turn_back(images: tf.Tensor, k: int) -> tf.Tensor:
    """Undo `orient`."""
    transposed, axes = _MOVES[k]
    images = tf.reverse(images, axes) if axes else images
    return tf.transpose(images, (0, 2, 1, 3)) if transposed else images


def predict(
    model: keras.Model, data: Data, cases: pd.DataFrame, batch_size: int, tta: bool
) -> pd.DataFrame:
    """Predict some rows of the table of cases.

    Args:
        model: (B, S, S, 3) float, 0..255 -> logit (B, 1).
        batch_size: every batch is padded to it, so that several devices can share each batch.
        tta: also return the mean logit over eight orientations.

    Returns:
        Columns image_name, target, group, logit and, with `tta`, logit_tta, in the order of
        `cases`.

    Raises:
        TrainingError: the shards lack one of the images.
    """
    resized = model.input_shape[1]
    records = choose_records(data, cases)
    names = read_names(data, cases)
    batches = decode_records(records, data.build.settings.size, batch_size, resized)
    orientations = ORIENTATIONS if tta else 1

    def views(batch: dict[str, tf.Tensor]) -> tf.data.Dataset:
        missing = batch_size - tf.shape(batch["image"])[0]
        filled = tf.pad(batch["image"], [[0, missing], [0, 0], [0, 0], [0, 0]])
        filled = tf.ensure_shape(filled, (batch_size, resized, resized, 3))
        oriented = tf.stack([orient(filled, k) for k in range(orientations)])
        return tf.data.Dataset.from_tensor_slices(tf.cast(oriented, tf.float32))

    logits = model.predict(
        batches.flat_map(views).prefetch(2),
        steps=orientations * math.ceil(len(names) / batch_size),
        verbose=1 if sys.stdout.isatty() else 0,
    )
    # (batches, orientations, images of a batch) -> (orientations, images)
    by_view = logits.reshape(-1, orientations, batch_size).transpose(1, 0, 2)
    by_view = by_view.reshape(orientations, -1)[:, : len(names)]
    predicted = tabulate(names, by_view[0], cases)
    if tta:
        predicted["logit_tta"] = by_view.mean(axis=0, dtype=np.float64)
    return predicted.set_index("image_name").loc[cases["image_name"]].reset_index()


def read_names(data: Data, cases: pd.DataFrame) -> list[str]:
    """Read the names of some rows of the table of cases, in the order of the shards.

    Raises:
        TrainingError: the shards lack one of the images.
    """
    records = choose_records(data, cases)
    names = [
        name.decode()
        for name in records.map(lambda r: parse_example(r)["image_name"]).as_numpy_iterator()
    ]
    if sorted(names) != sorted(cases["image_name"]):
        raise TrainingError(
            f"{data.folder}: the shards do not hold the images that its table of cases lists. "
            "Build the data set again."
        )
    return names


def tabulate(
    names: Sequence[str], logit: NDArray[np.floating], cases: pd.DataFrame
) -> pd.DataFrame:
    """Join predictions (N,) with the table of cases.

    Returns:
        Columns image_name, target, group and logit, float64, in the order of `names`.
    """
    known = cases[["image_name", "target", "group"]]
    predicted = pd.DataFrame({"image_name": names, "logit": logit.astype(np.float64)})
    return known.merge(predicted, on="image_name", how="right", validate="one_to_one")
