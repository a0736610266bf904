import io
from typing import get_args

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from processing import image
from processing.drawing import draw_lesion
from processing.image import DEFAULT_PATH, PIXEL_PATHS, cut_square, read_square
from processing.manifest import Input, PixelPath
from tests.processing.photos import BEST_HEIC, KINDS, encode, encode_png16, make_picture, turn

Colour = tuple[int, int, int]

# What the cut's own JPEG (quality 95) and a HEIC may change in smooth pictures, of 255.
CODING_NOISE = 6


def read(
    data: bytes, size: int = 40, crop_fraction: float = 1.0, pixel_path: int = DEFAULT_PATH
) -> NDArray[np.int_]:
    """The pixels, as numbers that can be subtracted."""
    square = read_square(data, size=size, crop_fraction=crop_fraction, pixel_path=pixel_path)
    return square.pixels.astype(int)


def difference(a: NDArray[np.integer], b: NDArray[np.integer] | Colour | int) -> int:
    return int(np.abs(a - b).max())


# Every kind of file.


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_pixels(kind: str) -> None:
    picture = make_picture()

    square = read_square(encode(picture, kind), size=40, crop_fraction=1.0)

    assert square.pixels.shape == (40, 40, 3)
    assert square.pixels.dtype == np.uint8
    assert (square.width, square.height) == picture.size
    centre = np.asarray(picture)[:, 10:50].astype(int)
    assert difference(square.pixels, centre) <= CODING_NOISE


def test_what_is_served_is_what_a_tfrecord_holds() -> None:
    data = encode(Image.fromarray(draw_lesion(1, 300)), "PNG")

    cut = cut_square(data, size=64, crop_fraction=0.6)
    square = read_square(data, size=64, crop_fraction=0.6)

    stored = np.asarray(Image.open(io.BytesIO(cut.jpeg)))
    assert (stored == square.pixels).all()
    assert cut[1:] == square[1:] == (300, 300)


@pytest.mark.parametrize("options", [{"comment": b"Jane Doe"}, {"exif": b"Exif\0\0Jane Doe"}])
def test_the_cut_says_nothing_of_the_patient(options: dict[str, bytes]) -> None:
    data = encode(make_picture(), "JPEG", **options)

    assert b"Jane Doe" in data
    assert b"Jane Doe" not in cut_square(data, size=8, crop_fraction=1.0).jpeg


def test_multi_picture_jpeg_gives_its_first_picture() -> None:
    other = Image.new("RGB", (60, 40), "lime")
    data = encode(make_picture(), "MPO", save_all=True, append_images=[other], quality=95)

    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert difference(read(data), read(encode(make_picture(), "PNG"))) <= CODING_NOISE


# Orientation.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    picture = make_picture()
    turned, exif = turn(picture, orientation)

    square = read_square(encode(turned, kind, exif=exif), size=40, crop_fraction=1.0)

    assert (square.width, square.height) == picture.size
    upright = read(encode(picture, kind))
    assert difference(square.pixels, upright) <= 3  # JPEG and HEIC code the turned pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "HEIC"])
def test_orientation_is_applied_to_a_transparent_picture(kind: str, orientation: int) -> None:
    picture = make_picture(mode="RGBA")
    picture.putalpha(make_picture(mode="L"))
    turned, exif = turn(picture, orientation)

    upright = read(encode(picture, kind))
    assert difference(read(encode(turned, kind, exif=exif)), upright) <= CODING_NOISE


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_a_jpeg_decoded_at_reduced_scale(orientation: int) -> None:
    picture = make_picture(600, 400)
    turned, exif = turn(picture, orientation)

    square = read_square(encode(turned, "JPEG", exif=exif), size=40, crop_fraction=1.0)

    assert (square.width, square.height) == (600, 400)
    assert difference(square.pixels, read(encode(picture, "PNG"))) <= CODING_NOISE


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = make_picture()

    assert difference(read(encode(picture, "PNG", exif=exif)), read(encode(picture, "PNG"))) == 0


# Modes.


@pytest.mark.parametrize("kind", KINDS)
def test_greyscale_becomes_rgb(kind: str) -> None:
    grey = make_picture(mode="L")
    data = encode(grey.convert("RGB") if kind == "WEBP" else grey, kind)  # WebP knows no grey

    pixels = read(data)

    assert difference(pixels, read(encode(grey.convert("RGB"), "PNG"))) <= 2


def test_black_and_white_becomes_rgb() -> None:
    picture = make_picture(mode="1")

    assert (read(encode(picture, "PNG")) == read(encode(picture.convert("RGB"), "PNG"))).all()


def test_cmyk_becomes_rgb() -> None:
    picture = make_picture(mode="CMYK")

    pixels = read(encode(picture, "JPEG"))

    assert difference(pixels, read(encode(make_picture(), "PNG"))) <= CODING_NOISE


def test_palette_becomes_rgb() -> None:
    picture = make_picture().quantize(16)

    assert (read(encode(picture, "PNG")) == read(encode(picture.convert("RGB"), "PNG"))).all()


@pytest.mark.parametrize(
    ("channels", "expected"), [((0x80FF,), (0x80,) * 3), ((0xFFFF, 0x4000, 0x00FF), (255, 64, 0))]
)
def test_16_bits_become_8(channels: tuple[int, ...], expected: tuple[int, ...]) -> None:
    pixels = np.full((20, 20, len(channels)), channels, np.uint16)
    if len(channels) == 1:
        pixels = pixels[..., 0]

    assert difference(read(encode_png16(pixels), size=8), np.array(expected)) <= 1


def test_10_bit_heic_becomes_8() -> None:
    picture = make_picture()
    wide = np.asarray(picture).astype("<u2") << 8
    file = io.BytesIO()
    pillow_heif.encode("RGB;16", picture.size, wide.tobytes(), file, **BEST_HEIC)

    assert difference(read(file.getvalue()), read(encode(picture, "PNG"))) <= CODING_NOISE


WHITE, RED, PINK = (255, 255, 255), (255, 0, 0), (255, 127, 127)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "HEIC"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, WHITE), (255, RED), (128, PINK)])
def test_what_is_transparent_becomes_white(alpha: int, expected: Colour, kind: str) -> None:
    picture = Image.new("RGBA", (32, 32), (*RED, alpha))

    assert difference(read(encode(picture, kind), size=8), np.array(expected)) <= 3


def test_transparent_grey_becomes_white() -> None:
    picture = Image.new("LA", (20, 20), (0, 0))

    assert difference(read(encode(picture, "PNG"), size=8), np.array(WHITE)) == 0


@pytest.mark.parametrize(
    ("mode", "colour", "transparency"),
    [("P", 0, 0), ("P", 1, 1), ("P", 1, b"\xff\x00"), ("RGB", RED, RED), ("L", 7, 7), ("1", 0, 0)],
)
def test_transparent_colour_becomes_white(
    mode: str, colour: int | Colour, transparency: int | bytes | Colour
) -> None:
    picture = Image.new(mode, (20, 20), colour)
    if mode == "P":
        picture.putpalette((0, 255, 0, *RED))
    data = encode(picture, "PNG", transparency=transparency)

    assert difference(read(data, size=8), np.array(WHITE)) == 0


# The cut.


def bordered(width: int, height: int, side: int) -> bytes:
    """A white square of that side in the centre of black."""
    picture = Image.new("RGB", (width, height), "black")
    left, top = (width - side) // 2, (height - side) // 2
    picture.paste("white", (left, top, left + side, top + side))
    return encode(picture, "PNG")


@pytest.mark.parametrize(("width", "height"), [(100, 60), (60, 100), (60, 60)])
def test_cut_is_the_centre_square(width: int, height: int) -> None:
    white = read(bordered(width, height, side=30), size=30, crop_fraction=0.5)
    assert difference(white, np.array(WHITE)) == 0

    # Two pixels less white, and the border shows on every side.
    pixels = read(bordered(width, height, side=28), size=30, crop_fraction=0.5)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.max() < 64


@pytest.mark.parametrize(("width", "height"), [(101, 67), (67, 101), (100, 67), (33, 33)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.61])
def test_cut_of_odd_sizes_stays_in_the_centre(
    width: int, height: int, crop_fraction: float
) -> None:
    picture = make_picture(width, height)
    mirrored = picture.transpose(Image.Transpose.ROTATE_180)

    pixels = read(encode(picture, "PNG"), 16, crop_fraction)
    back = read(encode(mirrored, "PNG"), 16, crop_fraction)[::-1, ::-1]

    assert difference(pixels, back) <= 3  # the cut's JPEG codes other blocks


@pytest.mark.parametrize(("width", "height"), [(5000, 3), (3, 5000), (1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.01])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_extreme_sizes_are_cut(width: int, height: int, crop_fraction: float, kind: str) -> None:
    data = encode(Image.new("RGB", (width, height), (200, 100, 50)), kind)

    square = read_square(data, size=24, crop_fraction=crop_fraction)

    assert (square.width, square.height) == (width, height)
    assert difference(square.pixels.astype(int), np.array((200, 100, 50))) <= 3


@pytest.mark.parametrize("size", [0, -1])
def test_size_out_of_range_is_the_programmers_fault(size: int) -> None:
    with pytest.raises(ValueError, match=f"size must be at least 1. Received: {size}"):
        read(encode(make_picture(), "PNG"), size=size)


@pytest.mark.parametrize("crop_fraction", [0, -0.5, 1.01, float("nan")])
def test_crop_fraction_out_of_range_is_the_programmers_fault(crop_fraction: float) -> None:
    with pytest.raises(ValueError, match=r"crop_fraction must be in \(0, 1\]. Received: "):
        read(encode(make_picture(), "PNG"), crop_fraction=crop_fraction)


# Decoding at reduced scale.


@pytest.fixture(scope="module")
def photo() -> tuple[bytes, bytes]:
    """A photo as JPEG, and what a full decode of that makes of it as PNG."""
    drawn = Image.fromarray(draw_lesion(3, 1000, irregular=True)).resize((2400, 2000))
    file = encode(drawn, "JPEG", quality=92)
    return file, encode(Image.open(io.BytesIO(file)), "PNG", compress_level=1)


@pytest.mark.parametrize("pixel_path", PIXEL_PATHS)
@pytest.mark.parametrize(
    ("size", "crop_fraction"), [(500, 1.0), (300, 1.0), (224, 1.0), (125, 1.0), (128, 0.6)]
)
def test_decode_at_reduced_scale_is_close_to_a_full_one(
    size: int, crop_fraction: float, pixel_path: int, photo: tuple[bytes, bytes]
) -> None:
    reduced, full = (read(data, size, crop_fraction, pixel_path) for data in photo)

    error = np.abs(reduced - full)
    # The cut's JPEG rounds, too, and path 3 has another of lower quality.
    assert 0 < error.mean() < {1: 0.7, 2: 1.0, 3: 1.5}[pixel_path]
    assert error.max() <= {1: 8, 2: 12, 3: 24}[pixel_path]


@pytest.mark.parametrize(
    ("pixel_path", "size", "crop_fraction"),
    [(1, 501, 1.0), (1, 384, 0.7), (1, 224, 0.4), (2, 1001, 1.0), (2, 701, 0.7), (2, 401, 0.4)],
)
def test_decode_is_full_where_the_cut_needs_it(
    pixel_path: int, size: int, crop_fraction: float, photo: tuple[bytes, bytes]
) -> None:
    reduced, full = (read(data, size, crop_fraction, pixel_path) for data in photo)

    assert difference(reduced, full) == 0


def test_path_3_cuts_a_large_photo_as_its_square_in_an_archive(photo: tuple[bytes, bytes]) -> None:
    whole = Image.open(io.BytesIO(photo[1]))
    small = whole.resize((256, 256), Image.Resampling.BICUBIC, box=(200, 0, 2200, 2000))
    archived = encode(small, "JPEG", quality=75, subsampling="4:2:0")

    cut = read(photo[1], 224, pixel_path=3)

    assert difference(cut, read(archived, 224, pixel_path=3)) == 0
    assert difference(cut, read(photo[1], 224, pixel_path=2)) > 3


@pytest.mark.parametrize("side", [256, 200])
def test_path_3_cuts_small_photos_as_path_2(side: int, photo: tuple[bytes, bytes]) -> None:
    small = encode(Image.open(io.BytesIO(photo[0])).resize((side, side)), "PNG")

    assert difference(read(small, 224, pixel_path=3), read(small, 224, pixel_path=2)) == 0


def test_the_paths_are_those_that_a_manifest_may_name() -> None:
    assert get_args(PixelPath) == PIXEL_PATHS
    assert Input(size=8, crop_fraction=1.0).pixel_path == DEFAULT_PATH


def test_an_unknown_path_is_refused(photo: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"pixel_path must be one of \(1, 2, 3\). Received: 4"):
        cut_square(photo[0], size=8, crop_fraction=1.0, pixel_path=4)


# In strips.


@pytest.mark.parametrize("pixel_path", PIXEL_PATHS)
@pytest.mark.parametrize(
    ("width", "height"),
    [(301, 207), (207, 301), (120, 210), (120, 330), (330, 120), (40, 900), (160, 160)],
)
def test_strips_give_the_pixels_of_the_whole(
    width: int, height: int, pixel_path: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 4), np.uint8)
    for mode in ("L", "LA", "RGB", "RGBA", "P", "CMYK"):
        picture = Image.fromarray(noise).convert(mode)
        for kind in ("JPEG",) if mode == "CMYK" else ("PNG", "WEBP", "HEIC"):
            if kind != "PNG" and mode in ("P", "LA"):
                continue
            data = encode(picture.convert("RGB") if kind == "WEBP" else picture, kind)
            for size in (30, 100):
                whole = read(data, size, 0.9, pixel_path)
                with monkeypatch.context() as small:
                    small.setattr(image, "_STRIP_PIXELS", 2500)
                    assert difference(read(data, size, 0.9, pixel_path), whole) == 0
