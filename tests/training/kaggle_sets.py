"""TFRecord sets of drawn lesions, in the exact schema of the public ones on Kaggle."""

import io
from collections.abc import Collection
from pathlib import Path

import tensorflow as tf
from PIL import Image

from processing.drawing import draw_lesion

# Keys that melanoma-N has and isic2019-N lacks.
ISIC2019_ABSENT = ("patient_id", "width", "height")


def write_kaggle_set(
    folder: Path,
    images: int,
    size: int,
    shards: int = 3,
    absent: Collection[str] = (),
    prefix: str = "DRAWNK",
) -> Path:
    """Write two images per patient, no patient in two files, every fourth image a melanoma."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        members = [i for i in range(images) if i // 2 % shards == shard]
        with tf.io.TFRecordWriter(str(folder / f"train{shard:02d}-{len(members)}.tfrec")) as writer:
            for i in members:
                writer.write(encode_record(i, size, absent, prefix))
    return folder


def encode_record(i: int, size: int, absent: Collection[str] = (), prefix: str = "DRAWNK") -> bytes:
    """Serialise record `i` of such a set, without the keys `absent`."""
    melanoma = i % 4 == 0
    jpeg = io.BytesIO()
    Image.fromarray(draw_lesion(i, size, irregular=melanoma)).save(jpeg, "JPEG", quality=95)
    values = {
        "image": jpeg.getvalue(),
        "image_name": f"{prefix}_{i:07d}".encode(),
        "patient_id": i // 2,
        "sex": i % 2,
        "age_approx": 40 + i % 30,
        "anatom_site_general_challenge": i % 6 - 1,
        "diagnosis": int(melanoma),
        "target": int(melanoma),
        "width": 6000,
        "height": 4000,
    }
    features = {key: _feature(value) for key, value in values.items() if key not in absent}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    serialized: bytes = example.SerializeToString()
    return serialized


def _feature(value: bytes | int) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
