"""Photos that are made to harm, each against the real process that decodes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from processing.decoding.decoder import Decoder
from processing.refusals import BrokenImageError, UnsupportedImageError
from tests.bombs import heif, jpeg, png, webp
from tests.processing.photos import KINDS, encode, make_picture

ROOT = Path(__file__).parents[2]
MAX_MEGABYTES = 150  # above rest, of both processes
# Of both processes, the start of another one that decodes (0.2 s) and the other photo included.
MAX_SECONDS = 2.0

# The file, and how it is refused (None: it is read); several where the limit that ends it varies.
Outcome = str | None | tuple[str | None, ...]
BOMBS: dict[str, tuple[Callable[[], bytes], Outcome]] = {
    # Each took more than 400 MB or 27 s when photos were decoded in the process that serves.
    "3,500 empty scans": (lambda: jpeg.repeat_scans(3500), "StrangeImageError"),
    "4 MB of Exif segments": (lambda: jpeg.fill_with_exif(4_000_000), "StrangeImageError"),
    "progressive CMYK, short on one side": (
        lambda: jpeg.make_large("CMYK", (65500, 763), progressive=True),
        "TooMuchMemoryError",
    ),
    "31 overlapping extents": (
        lambda: heif.overlap_extents(31, 19_000_000),
        "DamagedImageError",
    ),
    "HEIC 4:4:4 of 48 megapixels": (
        lambda: heif.repeat_tile(13, 14, chroma=444),
        "TooMuchMemoryError",
    ),
    "grey with alpha": (lambda: png.make_png(png.GREY_ALPHA, 7070, 7070), "TooMuchMemoryError"),
    "RGB with a transparent colour": (
        lambda: png.make_png(png.RGB, 7070, 7070, before=[(b"tRNS", bytes(6))]),
        "TooMuchMemoryError",
    ),
    "palette with transparency": (
        lambda: png.make_png(png.PALETTE, 7070, 7070, before=[(b"tRNS", bytes(1))]),
        None,
    ),
    # Within all checks, so that the process's own limits have to hold.
    "90 empty scans of 49 megapixels": (
        lambda: jpeg.repeat_scans(85, side=7000),
        (None, "UndecodableImageError"),
    ),
    "19 MB between segments": (lambda: jpeg.fill_with_junk(19_000_000), None),
    "grids of grids": (
        lambda: heif.nest_grids(8, 16),
        ("DamagedImageError", "UndecodableImageError"),
    ),
    "an overlay of 1,000 layers": (lambda: heif.overlay_tile(7000, 7000, 1000), None),
    "a compressed profile of 1 GB": (
        lambda: png.make_png(
            png.RGB, 60, 40, before=[(b"iCCP", b"x\0\0" + png.deflate_zeros(1 << 30))]
        ),
        "BrokenImageError",
    ),
    # Others of their kind.
    "19 MB of tables": (lambda: jpeg.fill_with_tables(19_000_000), "StrangeImageError"),
    "progressive, 49 megapixels": (
        lambda: jpeg.make_large("RGB", (7000, 7000), progressive=True),
        "TooMuchMemoryError",
    ),
    "one pixel wide": (lambda: jpeg.make_large("L", (1, 65500), progressive=True), None),
    "arithmetic coding": (jpeg.code_arithmetically, "DamagedImageError"),
    "500 further pictures": (lambda: jpeg.nest_pictures(500), None),
    "RGBA of 16 bits": (
        lambda: png.make_png(png.RGB_ALPHA, 7070, 7070, bits=16),
        "TooMuchMemoryError",
    ),
    "grey of 16 bits": (lambda: png.make_png(png.GREY, 7070, 7070, bits=16), None),
    "interlaced RGB": (
        lambda: png.make_png(png.RGB, 7070, 7070, interlaced=True),
        "TooMuchMemoryError",
    ),
    "interlaced grey": (lambda: png.make_png(png.GREY, 7070, 7070, interlaced=True), None),
    "200 compressed texts": (
        lambda: png.make_png(
            png.RGB, 60, 40, before=[(b"zTXt", b"x\0\0" + png.deflate_zeros(1 << 20))] * 200
        ),
        "StrangeImageError",
    ),
    "pixels in chunks of one byte": (
        lambda: png.make_png(png.GREY, 7070, 7070, split=1),
        "StrangeImageError",
    ),
    "a row of 50 megapixels": (
        lambda: png.make_png(png.PALETTE, 50_000_000, 1),
        ("TooMuchMemoryError", "DamagedImageError"),
    ),
    "a column of 50 megapixels": (
        lambda: png.make_png(png.PALETTE, 1, 50_000_000),
        "TooMuchMemoryError",
    ),
    "a vast canvas": (lambda: webp.make_vast_canvas(16383, 16383), "BrokenImageError"),
    "a large canvas": (lambda: webp.make_vast_canvas(4000, 4000), "TooMuchMemoryError"),
    "a large WebP": (lambda: webp.make_large(4000, 4000), "TooMuchMemoryError"),
    "an animation of 10,000 frames": (lambda: webp.animate(10_000), "StrangeImageError"),
    "an animation of 100 frames": (lambda: webp.animate(100), "AnimatedImageError"),
    "an AVIF": (lambda: heif.repeat_tile(9, 10, brand=b"avif"), "UnsupportedImageError"),
    "an overlay of 60,000 layers": (
        lambda: heif.overlay_tile(2000, 2000, 60_000),
        "BrokenImageError",
    ),
    "references in a circle": (heif.refer_in_a_circle, "BrokenImageError"),
    # What has to pass: photos of phones.
    "a HEIC of 24 megapixels": (lambda: heif.repeat_tile(9, 10), None),
    "a JPEG of 50 megapixels": (
        lambda: jpeg.make_large("RGB", (8160, 6120), progressive=False),
        None,
    ),
    "a progressive JPEG of 12 megapixels": (
        lambda: jpeg.make_large("RGB", (4032, 3024), progressive=True),
        None,
    ),
    "a screenshot of 12 megapixels": (lambda: png.make_png(png.RGB_ALPHA, 4032, 3024), None),
    "a WebP of 10 megapixels": (lambda: webp.make_large(4000, 2600), None),
}


@pytest.fixture
def measure() -> Callable[[bytes], dict[str, object]]:
    """A function that decodes a photo and tells what it took."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a process's own peak memory")

    def run(data: bytes) -> dict[str, object]:
        command = [sys.executable, "-m", "tests.bombs.measure"]
        done = subprocess.run(command, input=data, cwd=ROOT, capture_output=True, check=True)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.fault("photos that are made to harm", "at most 150 MB and 2 s, others are answered")
def test_no_photo_takes_more_than_its_share(
    name: str, measure: Callable[[bytes], dict[str, object]]
) -> None:
    make, expected = BOMBS[name]
    data = make()
    assert len(data) < 20_000_000  # what an upload may have
    found = measure(data)
    allowed = expected if isinstance(expected, tuple) else (expected,)
    assert found["error"] in allowed
    assert found["other"]
    assert float(str(found["megabytes"])) < MAX_MEGABYTES, found
    assert float(str(found["seconds"])) < MAX_SECONDS, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_that_ends_anywhere_is_answered(kind: str) -> None:
    """Truncated at each of 60 places, the header's included."""
    data = encode(make_picture(160, 120), kind)
    with Decoder() as decoder:
        for part in range(60):
            end = part * 4 if part < 30 else len(data) * (part - 29) // 31
            with pytest.raises((BrokenImageError, UnsupportedImageError)):
                decoder.read_square(data[:end], size=40, crop_fraction=1.0, pixel_path=2)
