"""Fingerprints that find the same picture under two names, and image sets with swapped colours.

Imports no TensorFlow: it runs in worker processes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from processing.image import shrink_centre

# Bits, of 256, in which fingerprints of one picture may differ. Measured on the 75 million pairs of
# different lesions among 12,303 images of ISIC 2019: every pair within 40 bits shows one picture,
# also when a round rim, as many dermatoscopes leave it, is drawn on each photo. Within 32 bits lie
# all copies at JPEG quality 50, at 128 to 1024 px or with another white balance, and 99 % of the
# copies that are 20 % brighter or cropped by 2 %. Half of the copies that are cropped by 4 % are
# found; mirrored, rotated or squashed copies are not.
MAX_DISTANCE = 32
_BITS = 256
_BLOCK_ROWS = 64  # rows compared at once; against 58,000 others they take 70 MB
# The median of three random images of a set is bluer than red in up to 0.3 % of draws, the median
# of ten in none of 50,000 draws.
_MIN_IMAGES = 10


class Fingerprint(NamedTuple):
    """What is stored of a picture to recognise it."""

    phash: str  # 64 hex digits; "" where the picture has too little structure to recognise it
    red_minus_blue: float  # difference of the means over the centre, -255..255


class Pair(NamedTuple):
    """Two hashes that are nearly equal."""

    row: int
    other: int
    distance: int  # differing bits


def fingerprint(photo: Image.Image) -> Fingerprint:
    """Compute the fingerprint of an RGB photo of any size from its centre."""
    return fingerprint_centre(np.asarray(shrink_centre(photo)))


def fingerprint_centre(centre: NDArray[np.uint8]) -> Fingerprint:
    """Compute a fingerprint from what `shrink_centre` left of a photo; `phash` is its pHash."""
    bits = imagehash.phash(Image.fromarray(centre), hash_size=16).hash
    red, _, blue = centre.mean(axis=(0, 1))
    # Bits of frequencies above the median are 1. Unless these are one half, most frequencies are
    # equal, and the picture is a plain surface or a gradient.
    structured = bits.sum() == _BITS // 2
    # The same text as str(ImageHash), in a tenth of the time.
    return Fingerprint(np.packbits(bits).tobytes().hex() if structured else "", float(red - blue))


def find_pairs(
    hashes: Sequence[str], others: Sequence[str] | None = None, max_distance: int = MAX_DISTANCE
) -> Iterator[Pair]:
    """Find the pairs of hashes that differ in at most `max_distance` bits.

    `row` is a row of `hashes`, `other` one of `others`. Without `others` both are rows of `hashes`,
    the lower one first. Empty hashes match nothing.
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
                yield Pair(row, other, int(distances[i, j]))


def find_swapped(red_minus_blue: pd.Series, folders: pd.Series) -> list[str]:
    """Find the folders of at least ten images whose red and blue look swapped.

    Skin is red: the median of red minus blue is 55 to 78 of 255 in the sets of ISIC 2017, 2019 and
    2020, although up to 3 % of single images are bluer than red.
    """
    found = red_minus_blue.groupby(folders).agg(["size", "median"])
    swapped = (found["size"] >= _MIN_IMAGES) & (found["median"] < 0)
    return [str(folder) for folder in found.index[swapped]]


def _pack(hashes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the rows of the hashes that are not empty, and their bits as (N, 4) words."""
    rows = [row for row, phash in enumerate(hashes) if phash]
    joined = bytes.fromhex("".join(hashes[row] for row in rows))
    return np.array(rows, np.int64), np.frombuffer(joined, np.uint64).reshape(-1, _BITS // 64)
