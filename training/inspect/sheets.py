"""Sheets of images for a page: a sample of a data folder, and one image under augmentation."""

import base64
import io
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from training.data.augment import augment_batch, degrade, draw_changes, draw_mixtures, mix
from training.data.folder import Data
from training.data.tfrecords import read_examples
from training.errors import TrainingError
from training.recipe import Augmentation

_SAMPLE = 24  # positives on the contact sheet, and as many others
_VARIANTS = 32  # of the augmented image
_THUMBNAIL = 160  # pixels; the page shows them smaller, which is sharp on high-density screens
_SEED = 0


class AugmentedSheet(NamedTuple):
    """One image, and how training may change it."""

    image_name: str
    strength: Augmentation
    uris: list[str]  # the original, then its variants


def make_contact_sheets(data: Data) -> dict[str, pd.DataFrame]:
    """Sample the positives and the others, and add the `uri` of each image.

    Raises:
        TrainingError: a shard or an image cannot be read.
    """
    sheets = _choose_sheets(data)
    encoded = encode_cases(data, pd.concat(sheets.values()))  # one pass over the shards
    return {title: encoded.loc[sheet.index] for title, sheet in sheets.items()}


def encode_cases(data: Data, cases: pd.DataFrame) -> pd.DataFrame:
    """Add the `uri` of each image to some rows of the table of cases.

    Raises:
        TrainingError: a shard or an image cannot be read.
    """
    images = _read_images(data, cases)
    return cases.assign(uri=[_encode(images[name]) for name in cases["image_name"]])


def make_augmented_sheet(
    data: Data, strength: Augmentation, image_name: str | None = None
) -> AugmentedSheet:
    """Augment one image several times, by default the first of the contact sheet.

    Raises:
        TrainingError: `image_name` is not in the data, or the image cannot be read.
    """
    cases = data.cases
    if image_name is None:
        image_name = str(pd.concat(_choose_sheets(data))["image_name"].iloc[0])
    chosen = cases[cases["image_name"] == image_name]
    if chosen.empty:
        raise TrainingError(
            f"--image {image_name}: {data.folder} has no such image. Its names look like "
            f"{cases['image_name'].iloc[0]}; the page of inspect shows some with their images."
        )
    image = _read_images(data, chosen)[image_name]
    seed = tf.constant([_SEED, 0], tf.int64)
    varied = _augment([image] * _VARIANTS, strength, seed)
    if strength.mixup:
        others = data.cases.drop(chosen.index).sample(_VARIANTS, replace=True, random_state=_SEED)
        read = _read_images(data, others.drop_duplicates())
        partners = _augment([read[name] for name in others["image_name"]], strength, seed + 1)
        pairs = tf.reshape(tf.stack([varied, partners], axis=1), [-1, *varied.shape[1:]])
        varied = mix(pairs, draw_mixtures(2 * _VARIANTS, strength, seed))[::2]
    varied = np.rint(varied).astype(np.uint8)
    uris = [_encode(each) for each in (image, *map(Image.fromarray, varied))]
    return AugmentedSheet(image_name, strength, uris)


def _augment(images: list[Image.Image], strength: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Augment images as training does, up to mixing them: (B, S, S, 3) float32."""
    degraded = [
        degrade(tf.constant(np.asarray(image)), strength, seed + tf.constant([0, i], tf.int64))
        for i, image in enumerate(images)
    ]
    return augment_batch(tf.stack(degraded), strength, draw_changes(len(images), seed))


def _choose_sheets(data: Data) -> dict[str, pd.DataFrame]:
    return {
        title: _choose(data.cases[data.cases["target"] == target])
        for title, target in (("Some positives", 1), ("Some others", 0))
    }


def _choose(cases: pd.DataFrame) -> pd.DataFrame:
    # The first shards that have enough images: reading a whole archive takes minutes. Each shard is
    # a stratified sample of the whole.
    near: pd.DataFrame = cases[cases["shard"] <= cases["shard"].nsmallest(_SAMPLE).max()]
    return near.sample(min(_SAMPLE, len(near)), random_state=_SEED)


def _read_images(data: Data, cases: pd.DataFrame) -> dict[str, Image.Image]:
    """Read images as RGB, by name."""
    left, images = set(cases["image_name"]), {}
    for shard in data.shards(sorted(cases["shard"].unique())):
        for record in read_examples(shard, "image_name", "image"):
            name = record["image_name"].decode("utf-8", "replace")
            if name in left:
                images[name] = _decode(record["image"], f"{shard}: {name}")
                left.remove(name)
            if not left:
                return images
    raise TrainingError(
        f"{data.folder}: {min(left)} is in its table of cases, but not in its shards "
        f"({len(left)} such images). Build the data set again."
    )


def _decode(jpeg: bytes, where: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            return image.convert("RGB")
    except OSError as error:
        raise TrainingError(
            f"{where} holds no image that can be read. Build the data set again."
        ) from error


def _encode(image: Image.Image) -> str:
    """Return a small copy as a data URI."""
    small, file = image.copy(), io.BytesIO()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
