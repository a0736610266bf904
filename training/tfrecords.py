"""The one schema of our TFRecords: keys and dtypes of the public Kaggle melanoma sets.

`image` is a JPEG of the cut square. Codes are positions in the vocabularies of
`training.vocabulary`; -1 is missing. `source` and `group` are ours.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from processing.image import Cut
from training.files import replacing
from training.vocabulary import DIAGNOSES, SEXES, SITES

_BYTES = tf.io.FixedLenFeature([], tf.string)
_INT_OR_MISSING = tf.io.FixedLenFeature([], tf.int64, default_value=-1)
FEATURES = {
    "image": _BYTES,
    "image_name": _BYTES,
    **dict.fromkeys(
        (
            "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis",
            "target", "width", "height",
        ),
        _INT_OR_MISSING,
    ),
    "source": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "group": tf.io.FixedLenFeature([], tf.string, default_value=""),
}  # fmt: skip


def encode_example(case: Mapping[Hashable, Any], cut: Cut) -> bytes:
    """Serialise one row of the table of cases and its cut."""
    age = case["age_approx"]
    features = {
        "image": _bytes(cut.jpeg),
        "image_name": _bytes(case["image_name"].encode()),
        "patient_id": _int(case["patient_code"]),
        "sex": _int(_code(case["sex"], SEXES)),
        "age_approx": _int(-1 if math.isnan(age) else age),
        "anatom_site_general_challenge": _int(_code(case["anatom_site"], SITES)),
        "diagnosis": _int(_code(case["diagnosis"], DIAGNOSES)),
        "target": _int(case["target"]),
        "width": _int(cut.width),
        "height": _int(cut.height),
        "source": _bytes(case["source"].encode()),
        "group": _bytes(case["group"].encode()),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def write_shard(path: Path, examples: Iterable[bytes]) -> None:
    """Write serialised examples to `path`: under a temporary name, then renamed."""
    with replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for example in examples:
            writer.write(example)


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parse one record into scalars of `FEATURES`; `image` is still a JPEG."""
    parsed: dict[str, tf.Tensor] = tf.io.parse_single_example(serialized, FEATURES)
    return parsed


def read_sizes(shards: Sequence[Path]) -> pd.DataFrame:
    """Columns image_name, width, height of every record: the source's size, upright, pixels."""
    keys = ("image_name", "width", "height")
    records = tf.data.TFRecordDataset([str(shard) for shard in shards]).map(parse_example)
    rows = records.map(lambda parsed: tuple(parsed[key] for key in keys)).as_numpy_iterator()
    sizes = pd.DataFrame(rows, columns=list(keys))
    return sizes.assign(image_name=sizes["image_name"].str.decode("utf-8"))


def decode_image(jpeg: tf.Tensor, size: int) -> tf.Tensor:
    """JPEG bytes -> (S, S, 3) uint8, the same pixels as Pillow's decoder gives."""
    # TensorFlow's default IDCT is fast and off by up to 3 of 255.
    image = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, (size, size, 3))


def _code(value: str, vocabulary: tuple[str, ...]) -> int:
    return vocabulary.index(value) if value else -1


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: float) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
