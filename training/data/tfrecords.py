"""The schema of our TFRecords: that of the public Kaggle melanoma sets, with four more keys.

`image` is the square as JPEG. Codes are positions in the vocabularies of
`training.data.vocabulary`; -1 is missing. `modality`, `skin_tone`, `source` and `group`
are our additions.
"""

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from etils import epath

from training.data.vocabulary import DIAGNOSES, MODALITIES, SEXES, SITES, SKIN_TONES
from training.errors import BUILD_AGAIN, TrainingError
from training.files import replacing

# What TensorFlow writes around its message, and on further lines: nodes of its graph.
_OF_THE_GRAPH = re.compile(r"\{\{.*?\}\} *| *\[Op:.*")
_BYTES = tf.io.FixedLenFeature([], tf.string)
_INT_OR_MISSING = tf.io.FixedLenFeature([], tf.int64, default_value=-1)
FEATURES = {
    "image": _BYTES,
    "image_name": _BYTES,
    **dict.fromkeys(
        (
            "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis",
            "target", "width", "height", "modality", "skin_tone",
        ),
        _INT_OR_MISSING,
    ),
    "source": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "group": tf.io.FixedLenFeature([], tf.string, default_value=""),
}  # fmt: skip


def encode_example(case: Mapping[Hashable, Any], jpeg: bytes) -> bytes:
    """Serialise one row of the table of cases and the JPEG of its square."""
    age = case["age_approx"]
    features = {
        "image": _bytes(jpeg),
        "image_name": _bytes(case["image_name"].encode()),
        "patient_id": _int(case["patient_code"]),
        "sex": _int(_code(case["sex"], SEXES)),
        "age_approx": _int(-1 if math.isnan(age) else age),
        "anatom_site_general_challenge": _int(_code(case["anatom_site"], SITES)),
        "diagnosis": _int(_code(case["diagnosis"], DIAGNOSES)),
        "modality": _int(_code(case["modality"], MODALITIES)),
        "skin_tone": _int(_code(case["skin_tone"], SKIN_TONES)),
        "target": _int(case["target"]),
        "width": _int(case["width"]),
        "height": _int(case["height"]),
        "source": _bytes(case["source"].encode()),
        "group": _bytes(case["group"].encode()),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def write_shard(path: epath.Path, examples: Iterable[bytes]) -> None:
    """Write serialised examples to a temporary file, then rename it to `path`."""
    with replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for example in examples:
            writer.write(example)


def read_examples(shard: epath.Path, *keys: str) -> Iterator[dict[str, Any]]:
    """Read the values of `keys` from the records of a shard, in order, as NumPy values.

    Raises:
        TrainingError: the shard is missing or damaged.
    """

    def pick(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse_example(record)
        return {key: parsed[key] for key in keys}

    try:
        yield from tf.data.TFRecordDataset(str(shard)).map(pick).as_numpy_iterator()
    except tf.errors.OpError as error:
        problem = _OF_THE_GRAPH.sub("", error.message.partition("\n")[0])
        raise TrainingError(f"{shard}: {problem}. {BUILD_AGAIN}") from error


@contextmanager
def naming_damage(shards: Sequence[epath.Path]) -> Iterator[None]:
    """Name the shard that TensorFlow could not read, since its own error does not.

    Raises:
        TrainingError: TensorFlow met a shard that is missing or damaged.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError):
        for shard in shards:
            for _ in read_examples(shard, "image_name"):
                pass
        raise


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parse one record into scalars of `FEATURES`; `image` is still a JPEG."""
    parsed: dict[str, tf.Tensor] = tf.io.parse_single_example(serialized, FEATURES)
    return parsed


def decode_image(jpeg: tf.Tensor, size: int) -> tf.Tensor:
    """Decode a JPEG into (S, S, 3) uint8, the same pixels as Pillow gives."""
    # TensorFlow's default IDCT is faster, but off by up to 3 of 255.
    image = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, (size, size, 3))


def _code(value: str, vocabulary: tuple[str, ...]) -> int:
    return vocabulary.index(value) if value else -1


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: float) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
