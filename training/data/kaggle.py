"""Read the public TFRecord sets on Kaggle, such as melanoma-384x384, as cases.

Worker processes import this module, so TensorFlow is imported only inside functions.
"""

import io
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from etils import epath

from training.data.cases import COLUMNS, Listing
from training.data.vocabulary import MODALITIES, SKIN_TONES, Target
from training.errors import TrainingError

_HEADER_BYTES, _FOOTER_BYTES = 12, 4  # length with checksum; after the record, its checksum
_REMEDY = "Download the file again."


def find_shards(folder: epath.Path) -> list[epath.Path]:
    """Return a public set's files of training records, sorted by name."""
    return sorted(folder.glob("train*.tfrec"))


def read_kaggle(folder: epath.Path, target: Target) -> Listing:
    """Read the cases of a public set, without its images.

    Returns:
        The cases, and a warning if a patient is in two files. Beside the usual columns, the table
        has `width, height` of the source photo (-1 where unknown) and `shard` (the number of the
        file). `path` is `FILE#BYTEOFFSET`, for `read_jpeg`. Sex, site and diagnosis are "", since
        their codes differ from set to set; modality and skin tone are ours, and "" in most sets.

    Raises:
        TrainingError: the folder holds no such set, a file is damaged or of another schema, or
            `target` is not melanoma.
    """
    if target.name != "melanoma":
        raise TrainingError(
            f"{folder}: the target of a public set is melanoma, and its records have no diagnosis "
            f"to derive {target.name!r} from. Leave the set out, or build with --target melanoma."
        )
    shards = find_shards(folder)
    if not shards:
        raise TrainingError(f"{folder} holds no train*.tfrec. Name the folder that does.")
    name = epath.Path(folder).resolve().name
    records = [_scan(shard).assign(shard=number) for number, shard in enumerate(shards)]
    cases = pd.concat(records, ignore_index=True)
    known = cases["patient_id"] >= 0
    patients = (f"{name}:" + cases["patient_id"].astype(str)).where(known, "")
    cases = cases.assign(
        **dict.fromkeys(("lesion_id", "sex", "anatom_site", "diagnosis"), ""),
        source=name,
        patient_id=patients,
        modality=_decode(cases["modality"], MODALITIES),
        skin_tone=_decode(cases["skin_tone"], SKIN_TONES),
        age_approx=cases["age_approx"].where(cases["age_approx"].between(0, 120)).astype("float64"),
        group=patients.where(known, cases["image_name"]),
        present=True,
        instead="",
    )
    warnings = _warn_of_split_patients(cases, shards)
    return Listing(cases[[*COLUMNS, "width", "height", "shard"]], warnings)


def read_jpeg(path: str) -> bytes:
    """Read the JPEG of the record at `path`, FILE#BYTEOFFSET.

    Raises:
        TrainingError: no record starts there, or it holds no image.
    """
    import tensorflow as tf

    from training.data.tfrecords import FEATURES

    file, _, offset = path.rpartition("#")
    try:
        with epath.Path(file).open("rb") as stream:
            end = stream.seek(0, io.SEEK_END)
            stream.seek(int(offset))
            length = int.from_bytes(stream.read(_HEADER_BYTES)[:8], "little")
            # A damaged length must not ask for more memory than the file could fill.
            record = stream.read(min(length, end))
        parsed = tf.io.parse_single_example(record, {"image": FEATURES["image"]})
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise TrainingError(
            f"{path}: no record with an image starts here. The file is damaged or was changed. "
            f"{_REMEDY}"
        ) from error
    jpeg: bytes = parsed["image"].numpy()
    return jpeg


def _scan(shard: epath.Path) -> pd.DataFrame:
    """Return one row per record. TensorFlow verifies the checksums; the images are not kept."""
    import tensorflow as tf

    from training.data.tfrecords import FEATURES

    # The default makes a missing key visible, so that the message can name it.
    needed = dict.fromkeys(("image", "image_name"), tf.io.FixedLenFeature([], tf.string, ""))

    def describe(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed: dict[str, tf.Tensor] = tf.io.parse_single_example(record, FEATURES | needed)
        image_bytes = tf.strings.length(parsed.pop("image"))
        return {**parsed, "image_bytes": image_bytes, "record_bytes": tf.strings.length(record)}

    rows = []
    try:
        for row in tf.data.TFRecordDataset(str(shard)).map(describe).as_numpy_iterator():
            rows.append(row)
    # UnicodeDecodeError is a ValueError: TensorFlow cannot decode some bytes for its own message.
    except (ValueError, tf.errors.OpError) as error:
        raise TrainingError(
            f"{shard}, record {len(rows) + 1}: the file is damaged or of another schema. {_REMEDY}"
        ) from error
    _require_count(shard, len(rows))
    records = pd.DataFrame(rows)
    _require_keys(shard, records)
    framed = records["record_bytes"].to_numpy("int64") + _HEADER_BYTES + _FOOTER_BYTES
    offsets = np.cumsum(framed) - framed
    return records.assign(
        image_name=records["image_name"].str.decode("utf-8", "replace"),
        path=[f"{shard}#{offset}" for offset in offsets],
        listed=[f"{shard}, record {number}" for number in range(1, len(records) + 1)],
    )


def _decode(codes: pd.Series, vocabulary: Sequence[str]) -> pd.Series:
    """Translate codes into words; any other number is ""."""
    return codes.map(dict(enumerate(vocabulary))).fillna("")


def _require_count(shard: epath.Path, count: int) -> None:
    named = re.search(r"-(\d+)\.tfrec$", shard.name)
    if named and int(named[1]) != count:
        raise TrainingError(
            f"{shard} holds {count} records, its name says {int(named[1])}. {_REMEDY}"
        )
    if count == 0:
        raise TrainingError(f"{shard} holds no records. {_REMEDY}")


def _require_keys(shard: epath.Path, records: pd.DataFrame) -> None:
    for key, good in (
        ("image", records["image_bytes"] > 0),
        ("image_name", records["image_name"] != b""),
        ("target of 0 or 1", records["target"].isin([0, 1])),
    ):
        if not good.all():
            raise TrainingError(
                f"{shard}, record {good.argmin() + 1} has no {key} ({(~good).sum()} such "
                "records). Training needs them: leave this set out."
            )


def _warn_of_split_patients(cases: pd.DataFrame, shards: list[epath.Path]) -> tuple[str, ...]:
    places = cases.loc[cases["patient_id"] != "", ["patient_id", "shard"]].drop_duplicates()
    torn = places[places["patient_id"].duplicated(keep=False)]
    if torn.empty:
        return ()
    patient = torn["patient_id"].iloc[0]
    one, other = (shards[n].name for n in torn.loc[torn["patient_id"] == patient, "shard"][:2])
    return (
        f"{shards[0].parent}: patient {patient} is in {one} and in {other} "
        f"({torn['patient_id'].nunique()} such patients), so folds of these files leak. "
        "Build a data folder from the set: it keeps each patient in one file.",
    )
