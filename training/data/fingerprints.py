"""What one picture under two names has in common, and what a set with swapped colours gives away.

Imports no TensorFlow: it runs in worker processes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

# Of the 256 bits of a fingerprint. Measured on 12,303 images of ISIC 2019: among 75 million pairs
# of different lesions all within 40 show one picture, also where a round rim is drawn on each
# photo, as many dermatoscopes leave one. Within 32 are all copies at JPEG quality 50, at 128 to
# 1024 px and in other white balance, and 99 % of those that are a fifth brighter or cut off by
# 2 %. A copy that is cut off by 4 % is found by half, one that is mirrored, turned or squashed not.
MAX_DISTANCE = 32
_BITS = 256
# Of the shorter side: the rim stays outside. In hashes of the whole square it made 1,171 pairs of
# different lesions alike.
_CENTRE = 0.6
_SIDE = 64  # pixels, four for each of the 16 frequencies a side
_BLOCK_ROWS = 64  # rows compared at once: 58,000 others take 70 MB
# Of three random images of one set the median is bluer than red in up to 0.3 % of draws, of ten in
# none of 50,000.
_MIN_IMAGES = 10


class Fingerprint(NamedTuple):
    """What is kept of a picture to know it again."""

    phash: str  # 64 hex digits; "" of a picture without structure, which could be any
    red_minus_blue: float  # means over the centre, -255..255


def fingerprint(photo: Image.Image) -> Fingerprint:
    """Fingerprint of an RGB photo of any size: the perceptual hash (pHash) of its centre."""
    side = _CENTRE * min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    centre = photo.resize(
        (_SIDE, _SIDE),
        Image.Resampling.BICUBIC,
        box=(left, top, left + side, top + side),
        reducing_gap=1.0,
    )
    bits = imagehash.phash(centre, hash_size=16).hash
    red, _, blue = np.asarray(centre).mean(axis=(0, 1))
    # Frequencies above their median are ones. Where that is not one half of them most are equal,
    # and the picture is a plain surface or a gradient.
    structured = bits.sum() == _BITS // 2
    # As str(ImageHash) would, in a tenth of its time.
    return Fingerprint(np.packbits(bits).tobytes().hex() if structured else "", float(red - blue))


def find_pairs(
    hashes: Sequence[str], others: Sequence[str] | None = None, max_distance: int = MAX_DISTANCE
) -> Iterator[tuple[int, int, int]]:
    """Pairs of hashes that differ in at most `max_distance` bits: (row, other row, distance).

    Without `others` the pairs are those within `hashes`, the lower row first. Empty hashes match
    nothing.
    """
    rows, words = _pack(hashes)
    other_rows, other_words = (rows, words) if others is None else _pack(others)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = words[start : start + _BLOCK_ROWS]
        skipped = start if others is None else 0
        distances = np.zeros((len(block), len(other_rows) - skipped), np.uint16)
        for word in range(words.shape[1]):
            differing = block[:, word, None] ^ other_words[None, skipped:, word]
            distances += np.bitwise_count(differing)
        for i, j in zip(*np.nonzero(distances <= max_distance), strict=True):
            row, other = int(rows[start + i]), int(other_rows[skipped + j])
            if others is not None or row < other:
                yield row, other, int(distances[i, j])


def find_swapped(red_minus_blue: pd.Series, folders: pd.Series) -> list[str]:
    """Folders of ten and more images whose red and blue look swapped.

    Skin is red: the median of red minus blue is 55 to 78 of 255 in the sets of ISIC 2017, 2019 and
    2020, though up to 3 % of single images are bluer than red.
    """
    found = red_minus_blue.groupby(folders).agg(["size", "median"])
    swapped = (found["size"] >= _MIN_IMAGES) & (found["median"] < 0)
    return [str(folder) for folder in found.index[swapped]]


def _pack(hashes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The rows of the hashes that are not empty, and their bits as (N, 4) words."""
    rows = [row for row, phash in enumerate(hashes) if phash]
    joined = bytes.fromhex("".join(hashes[row] for row in rows))
    return np.array(rows, np.int64), np.frombuffer(joined, np.uint64).reshape(-1, _BITS // 64)
