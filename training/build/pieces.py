"""Cut source photos into pieces: the squares of some images as JPEGs, and an index of them.

An interrupted build resumes from its pieces. `NAME.blob` holds JPEGs end to end; `NAME.csv`
describes each image. Imports no TensorFlow: it runs in worker processes.
"""

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from etils import epath

from processing.decoding.decoder import Limits, share_decoder
from processing.framing import Framing
from processing.refusals import BrokenImageError, ImageError
from training.data.fingerprints import fingerprint_centre
from training.data.kaggle import read_jpeg
from training.errors import TrainingError
from training.files import replacing, write_whole

# `fault` says why an image is unusable; all other columns but the name are then empty. `sha256` is
# that of the file. `start0` and `length0`, which follow, are the place of the first square's JPEG
# in the blob.
INDEX_COLUMNS = ("image_name", "fault", "width", "height", "sha256", "phash", "red_minus_blue")


# For one photo: archives hold larger photos than visitors send, and nobody waits for the next one.
_LIMITS = Limits(max_bytes=1_000_000_000, cpu_seconds=30, wall_seconds=120, return_memory=False)


class Piece(NamedTuple):
    """Some images to cut, and the file to write."""

    image_names: tuple[str, ...]
    paths: tuple[str, ...]
    framings: tuple[tuple[Framing, ...], ...]  # of each image, the squares to cut
    output: str  # path of the index; the blob has another extension

    @property
    def images(self) -> int:
        """The number of its images."""
        return len(self.paths)


def make_piece(piece: Piece) -> int:
    """Cut the images of `piece` and write it.

    Returns:
        The number of its images.

    Raises:
        TrainingError: the disk is full.
    """
    rows = []
    index = epath.Path(piece.output)
    blob = bytearray()
    for name, path, framings in zip(piece.image_names, piece.paths, piece.framings, strict=True):
        row, jpegs = _cut(path, framings)
        for k, jpeg in enumerate(jpegs):
            row |= {f"start{k}": len(blob), f"length{k}": len(jpeg)}
            blob += jpeg
        rows.append({"image_name": name} | row)
    with replacing(index.with_suffix(".blob")) as partial:
        partial.write_bytes(bytes(blob))
    write_whole(index, _format(rows, len(piece.framings[0])))
    return piece.images


def _cut(path: str, framings: Sequence[Framing]) -> tuple[dict[str, object], Sequence[bytes]]:
    try:
        data = read_jpeg(path) if ".tfrec#" in path else _read_file(epath.Path(path))
        cuts = share_decoder(os.cpu_count() or 1, _LIMITS).cut_squares(data, framings)
    except (ImageError, OSError, TrainingError) as error:
        return {"fault": str(error)}, ()
    found = fingerprint_centre(cuts.centre)
    row: dict[str, object] = {
        "width": cuts.width,
        "height": cuts.height,
        "sha256": hashlib.sha256(data).hexdigest(),
        "phash": found.phash,
        "red_minus_blue": f"{found.red_minus_blue:.2f}",
    }
    return row, cuts.jpegs


def _read_file(path: epath.Path) -> bytes:
    """Read a file of this machine or elsewhere.

    Raises:
        BrokenImageError: it is something else that goes by a name: reading a FIFO or a device
            would wait or never end.
        OSError: it cannot be read.
    """
    # Not epath's own tests, which take a FIFO for a file.
    local = Path(path)
    if local.exists() and not local.is_file():
        raise BrokenImageError("This is not a regular file. Put the photo itself in its place.")
    content: bytes = path.read_bytes()
    return content


def _format(rows: Sequence[dict[str, object]], squares: int) -> str:
    places = [f"{kind}{k}" for k in range(squares) for kind in ("start", "length")]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*INDEX_COLUMNS, *places])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
