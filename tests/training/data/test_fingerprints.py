import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from processing.drawing import draw_lesion
from tests.isic import ISIC2019_ORIGINAL, ISIC2019_SQUARES, list_photos, needs
from training.data.fingerprints import MAX_DISTANCE, find_pairs, find_swapped, fingerprint


def draw(seed: int, size: int = 512) -> Image.Image:
    return Image.fromarray(draw_lesion(seed, size, irregular=seed % 2 == 0))


def save(photo: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def distance(one: Image.Image, other: Image.Image) -> int:
    ((_, _, bits),) = find_pairs(
        [fingerprint(one).phash], [fingerprint(other).phash], max_distance=256
    )
    return bits


@pytest.mark.parametrize(
    "change",
    [
        lambda photo: save(photo, 50),
        lambda photo: photo.resize((256, 256), Image.Resampling.BICUBIC),
        lambda photo: photo.resize((1024, 1024), Image.Resampling.BICUBIC),
        lambda photo: ImageEnhance.Brightness(photo).enhance(0.9),
        lambda photo: ImageEnhance.Contrast(photo).enhance(1.1),
    ],
    ids=["quality 50", "256 px", "1024 px", "darker", "more contrast"],
)
def test_a_copy_is_recognised(change) -> None:
    photo = draw(3)
    assert distance(photo, change(photo)) <= MAX_DISTANCE


def test_a_photo_cut_to_its_centre_square_is_recognised() -> None:
    wide = Image.new("RGB", (700, 512), "black")
    wide.paste(draw(3), (94, 0))
    assert distance(wide, draw(3)) <= MAX_DISTANCE


def test_different_lesions_are_distinguished() -> None:
    hashes = [fingerprint(draw(seed, 96)).phash for seed in range(100)]
    assert list(find_pairs(hashes)) == []


@pytest.mark.parametrize("colour", ["black", "white", (200, 150, 120)])
def test_a_plain_picture_matches_nothing(colour) -> None:
    assert fingerprint(Image.new("RGB", (300, 200), colour)).phash == ""
    assert list(find_pairs(["", ""], ["", "0" * 64])) == []


def test_red_minus_blue_is_of_the_centre() -> None:
    photo = Image.new("RGB", (200, 100), "blue")
    photo.paste((200, 150, 120), (50, 0, 150, 100))
    assert fingerprint(photo).red_minus_blue == pytest.approx(80)


@pytest.fixture(scope="module")
def hashes() -> list[str]:
    """1,000 random hashes; number 900 differs from number 0 in 5 bits, and number 10 is empty."""
    bits = np.random.default_rng(0).integers(0, 256, (1000, 32), np.uint8)
    bits[900] = bits[0]
    bits[900, 7] ^= 0b00011111
    texts = [row.tobytes().hex() for row in bits]
    return [*texts[:10], "", *texts[11:]]


def test_pairs_are_found_across_blocks_and_only_once(hashes: list[str]) -> None:
    assert list(find_pairs(hashes)) == [(0, 900, 5)]
    assert list(find_pairs(hashes, max_distance=4)) == []


def test_pairs_with_other_hashes_are_found_whatever_their_rows(hashes: list[str]) -> None:
    assert list(find_pairs(hashes[500:], hashes[:5])) == [(400, 0, 5)]


def test_distances_are_those_of_a_bit_by_bit_count(hashes: list[str]) -> None:
    found = {(i, j): bits for i, j, bits in find_pairs(hashes[:40], max_distance=256)}
    assert len(found) == 39 * 38 / 2
    for (i, j), bits in found.items():
        assert bits == (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count()


def draw_hashes(count: int, seed: int) -> list[str]:
    return [np.random.default_rng([seed, number]).bytes(32).hex() for number in range(count)]


def flip(phash: str, bits: int, first: int) -> str:
    """Flip `bits` of the 256 bits of a hash, from bit `first` on."""
    return f"{int(phash, 16) ^ ((1 << bits) - 1 << first):064x}"


def test_no_near_pair_is_missed_wherever_its_bits_differ() -> None:
    hashes = draw_hashes(300, seed=1)
    places = [(bits, first) for bits in (1, 31, 32, 33, 64) for first in range(0, 192, 16)]
    hashes += [flip(one, *place) for one, place in zip(hashes, places, strict=False)]
    counted = [
        (i, j, (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count())
        for i, j in combinations(range(len(hashes)), 2)
    ]
    near = [(i, j, bits) for i, j, bits in counted if bits <= MAX_DISTANCE]
    assert len(near) == 3 * 12
    assert list(find_pairs(hashes)) == near


@pytest.mark.parametrize("twin", [8_191, 8_192, 8_200, 8_999])
def test_pairs_are_found_among_so_many_hashes_that_they_are_compared_in_parts(twin: int) -> None:
    hashes = draw_hashes(9_000, seed=2)
    hashes[twin] = flip(hashes[17], 32, first=100)
    found = list(find_pairs([hashes[17], hashes[twin]], hashes))
    assert found == [(0, 17, 0), (0, twin, 32), (1, 17, 32), (1, twin, 0)]
    assert list(find_pairs(["", *hashes])) == [(18, twin + 1, 32)]


def test_a_folder_with_swapped_colours_is_named() -> None:
    red_minus_blue = pd.Series([40.0, 60, -5, -40, -60, 5] * 4 + [-40])
    assert find_swapped(red_minus_blue, pd.Series(list("aaabbb") * 4 + ["c"])) == ["b"]


def open_rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.mark.slow
@needs(ISIC2019_ORIGINAL, ISIC2019_SQUARES)
def test_real_photos_are_recognised_in_their_small_squares() -> None:
    small = {path.name: path for path in list_photos(ISIC2019_SQUARES)}
    both = [path for path in list_photos(ISIC2019_ORIGINAL) if path.name in small]
    found = [distance(open_rgb(path), open_rgb(small[path.name])) for path in both]
    assert len(both) > 100
    assert np.mean(np.array(found) <= MAX_DISTANCE) > 0.9  # some of the small ones are squashed


@needs(ISIC2019_SQUARES)
def test_real_lesions_are_distinguished() -> None:
    photos = list_photos(ISIC2019_SQUARES)[::40]
    hashes = [fingerprint(open_rgb(path)).phash for path in photos]
    assert all(hashes)
    assert list(find_pairs(hashes)) == []
