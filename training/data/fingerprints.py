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
from tqdm import tqdm

from processing.image import shrink_centre

# Bits, of 256, in which fingerprints of one picture may differ. Measured on the 75 million pairs of
# different lesions among 12,303 images of ISIC 2019: every pair within 40 bits shows one picture,
# also when a round rim, as many dermatoscopes leave it, is drawn on each photo. Within 32 bits lie
# all copies at JPEG quality 50, at 128 to 1024 px or with another white balance, and 99 % of the
# copies that are 20 % brighter or cropped by 2 %. Half of the copies that are cropped by 4 % are
# found; mirrored, rotated or squashed copies are not.
MAX_DISTANCE = 32
_BITS = 256
# Hashes compared at once: 1 MB for each step, which caches hold, whatever the number of hashes.
_TILE_ROWS, _TILE_COLUMNS = 16, 8192
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
    with tqdm(
        total=len(rows), desc="Comparing pictures", unit=" images", delay=2, mininterval=1
    ) as progress:
        for start in range(0, len(rows), _TILE_ROWS):
            block = words[:, start : start + _TILE_ROWS]
            found = [np.empty((0, 3), np.int64)]
            for first in range(start if others is None else 0, len(other_rows), _TILE_COLUMNS):
                tile = other_words[:, first : first + _TILE_COLUMNS]
                found.append(_compare(block, tile, max_distance) + np.array([start, first, 0]))
            near = np.concatenate(found)
            for i, j, distance in near[np.lexsort((near[:, 1], near[:, 0]))].tolist():
                if others is not None or i < j:
                    yield Pair(int(rows[i]), int(other_rows[j]), distance)
            progress.update(block.shape[1])


def find_swapped(red_minus_blue: pd.Series, folders: pd.Series) -> list[str]:
    """Find the folders of at least ten images whose red and blue look swapped.

    Skin is red: the median of red minus blue is 55 to 78 of 255 in the sets of ISIC 2017, 2019 and
    2020, although up to 3 % of single images are bluer than red.
    """
    found = red_minus_blue.groupby(folders).agg(["size", "median"])
    swapped = (found["size"] >= _MIN_IMAGES) & (found["median"] < 0)
    return [str(folder) for folder in found.index[swapped]]


def _compare(
    words: NDArray[np.uint64], others: NDArray[np.uint64], max_distance: int
) -> NDArray[np.int64]:
    """Return position, other position and distance of the pairs that are near, (K, 3)."""
    # Where two words differ together in few bits, the whole hashes may, and are then compared. This
    # counts the bits of one word instead of four, and leaves one pair in 24,000 of ISIC's. With the
    # first words it would be one in 3,000: they hold lower frequencies, in which photos are alike.
    differing = (words[2, :, None] ^ others[2]) | (words[3, :, None] ^ others[3])
    i, j = np.divmod(np.flatnonzero(np.bitwise_count(differing) <= max_distance), others.shape[1])
    distance = np.bitwise_count(words[:, i] ^ others[:, j]).sum(axis=0, dtype=np.int64)
    found: NDArray[np.int64] = np.stack([i, j, distance], axis=1)[distance <= max_distance]
    return found


def _pack(hashes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the rows of the hashes that are not empty, and their bits as (4, N) words."""
    rows = [row for row, phash in enumerate(hashes) if phash]
    joined = bytes.fromhex("".join(hashes[row] for row in rows))
    words = np.frombuffer(joined, np.uint64).reshape(-1, _BITS // 64)
    return np.array(rows, np.int64), np.ascontiguousarray(words.T)
