import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from processing.drawing import draw_lesion
from processing.framing import Square
from processing.image import read_square
from processing.memory import MAX_PIXELS, MAX_WEBP_PIXELS
from processing.refusals import (
    AnimatedImageError,
    BrokenImageError,
    ImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from tests.processing.photos import KINDS, encode, encode_vast_png, make_picture, turn

REPOSITORY = Path(__file__).parents[2]


def read(data: bytes, size: int = 40) -> Square:
    return read_square(data, size=size, crop_fraction=1.0)


# Too many pixels.

PEAK_MEMORY = """
import sys
from processing import image, memory, refusals
def peak():  # not getrusage: its peak is inherited from the process that started this one
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
data = sys.stdin.buffer.read()
before = peak()
try:
    image.read_square(data, size=8, crop_fraction=1.0)
    message = None
except refusals.ImageError as error:
    message = error
print(message, peak() - before, sep="|")
"""


def read_in_new_process(data: bytes, setting: str = "") -> tuple[str, int]:
    """The error's text, and the megabytes by which the process's memory grew at its peak."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux reports a process's own peak memory")
    command = [sys.executable, "-c", PEAK_MEMORY.replace("\ndata", f"\n{setting}\ndata", 1)]
    done = subprocess.run(command, input=data, cwd=REPOSITORY, capture_output=True, check=True)
    message, megabytes = done.stdout.decode().split("|")
    return message, int(megabytes)


def test_small_file_of_100_megapixels_is_refused_before_it_is_decoded() -> None:
    data = encode_vast_png(10_000)
    assert len(data) < 13_000

    message, megabytes = read_in_new_process(data)
    assert message == "The image has more than 50 megapixels. Send a smaller copy."
    assert megabytes < 10

    # Without the cap, the measurement does see what decoding costs.
    message, megabytes = read_in_new_process(data, "memory.MAX_PIXELS = 10**9")
    assert message == "None"
    assert megabytes > 100


def declare(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    if kind == "JPEG":
        data = encode(make_picture(), kind)
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + height.to_bytes(2) + width.to_bytes(2) + data[at + 4 :]
    if kind == "WEBP":
        data = encode(make_picture(), kind)
        at = data.index(b"VP8L") + 9
        bits = int.from_bytes(data[at : at + 4], "little") >> 28 << 28
        bits |= (width - 1) | (height - 1) << 14
        return data[:at] + bits.to_bytes(4, "little") + data[at + 4 :]
    data = encode(make_picture(64, 64), kind)
    at = data.index(b"ispe") + 8
    return data[:at] + width.to_bytes(4) + height.to_bytes(4) + data[at + 8 :]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "HEIC"])
def test_every_kind_is_refused_before_it_is_decoded(kind: str) -> None:
    message, megabytes = read_in_new_process(declare(kind, 16_000, 16_000))

    assert "megapixels. Send a smaller copy" in message
    assert megabytes < 20


@pytest.mark.parametrize(
    ("kind", "limit"), [("JPEG", MAX_PIXELS), ("WEBP", MAX_WEBP_PIXELS), ("HEIC", MAX_PIXELS)]
)
def test_cap_is_on_width_times_height(kind: str, limit: int) -> None:
    width = limit // 4000

    with pytest.raises(TooManyPixelsError, match=f"{limit // 1_000_000} megapixels"):
        read(declare(kind, width + 1, 4000))
    with suppress(BrokenImageError):  # the claim is allowed, but it is not true
        read(declare(kind, width, 4000))


# Files that cannot be used.


def test_empty_file_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="is empty. Choose the photo again"):
        read(b"")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_file_is_refused(kind: str, part: float) -> None:
    data = encode(Image.fromarray(draw_lesion(1, 200)), kind)

    with pytest.raises(BrokenImageError, match="Send the original again"):
        read(data[: int(part * len(data))])


@pytest.mark.parametrize("kind", KINDS)
def test_file_cut_off_in_its_header_is_refused_as_broken(kind: str) -> None:
    with pytest.raises(BrokenImageError, match="Send the original again"):
        read(encode(make_picture(), kind)[:24])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_is_refused(kind: str) -> None:
    frames = [make_picture(), make_picture().transpose(Image.Transpose.ROTATE_180)]

    with pytest.raises(AnimatedImageError, match="is animated. Send a single still photo"):
        read(encode(frames[0], kind, save_all=True, append_images=frames[1:]))


def make_gif() -> bytes:
    frames = [make_picture(), make_picture().transpose(Image.Transpose.ROTATE_180)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (make_gif, "a GIF"),
        (lambda: encode(make_picture(), "TIFF"), "a TIFF"),
        (lambda: b"MM\0*" + bytes(100), "a TIFF"),
        (lambda: encode(make_picture(), "BMP"), "a BMP"),
        (lambda: encode(make_picture(), "PDF"), "a PDF document"),
        (lambda: bytes(128) + b"DICM" + bytes(100), "a DICOM file"),
        (lambda: b"PK\x03\x04" + bytes(100), "a ZIP archive"),
    ],
)
def test_file_of_another_kind_is_named(make: Callable[[], bytes], name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"This is {name}.*Send one of these"):
        read(make())


@pytest.mark.parametrize(
    "data", [b"just a text, renamed to .jpg", b"\0", b"<svg/>", random.Random(1).randbytes(5000)]
)
def test_file_that_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="This is not a JPEG, PNG, WebP or HEIC photo"):
        read(data)


def test_heic_with_a_damaged_item_type_does_not_end_the_process() -> None:
    """It did with pi-heif 1.4.0; in a process of its own, since no exception would show it."""
    data = encode(make_picture(), "HEIC", exif=turn(make_picture(), 1)[1])
    message, _ = read_in_new_process(data.replace(b"\0\0Exif\0", b"\0\0Exi\xff\0", 1))

    assert message == "None"


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_does_more_than_be_reported(kind: str) -> None:
    """A file with random bytes replaced gives a square or an ImageError, and nothing else."""
    whole = encode(make_picture(), kind, exif=turn(make_picture(), 6)[1])
    rng = random.Random(kind)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3, 30])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about metadata
            with suppress(ImageError):
                assert read(bytes(data), size=8).pixels.shape == (8, 8, 3)
