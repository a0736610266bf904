"""Bytes of a photo -> upright RGB -> centre crop -> (S, S, 3) uint8.

This is the only code that decodes and resizes photos. The TFRecord builder stores the result of
`cut_square`, and the trainer and the web app decode it: a model sees the same pixels in both.
Photos of strangers are decoded in a process of their own, by `processing.decoding`.
"""

import io
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pillow_heif
from PIL import ExifTags, Image

from processing.framing import Framing, Square
from processing.headers import check_structure
from processing.memory import require_decodable, require_few_pixels
from processing.refusals import (
    FORMATS,
    AnimatedImageError,
    DamagedImageError,
    ImageError,
    TooMuchMemoryError,
    explain_unreadable,
)
from processing.strips import Strips, decode

pillow_heif.register_heif_opener()
# Ours is the stricter limit; Pillow's own would only warn between once and twice its value.
Image.MAX_IMAGE_PIXELS = None


class _PixelPath(NamedTuple):
    """How a photo becomes a square."""

    oversampling: float  # a JPEG is decoded at the smallest scale that leaves the crop that much
    resampling: Image.Resampling  # antialiased
    as_archived: bool = False  # larger crops first become what archives of small squares hold


# Side of an archive's squares relative to the model's: 256 px for 224.
_ARCHIVED_SCALE = 8 / 7
_ARCHIVED_QUALITY = 75  # and half the colour's resolution: of most of ISIC 2019's squares
# A model is served by the path that its training images went through, so that a path is never
# changed, only added. Mean and largest difference from a full decode with bicubic resampling, of
# 255, for a 24-megapixel photo: 0.2 and 2 by path 1, 0.5 and 7 by path 2, which takes 0.7 of the
# time (`benchmarks.input` measures both against the decoder alone).
# Path 3 is for models that learned from archives cut to squares of 256 px beforehand: it cuts those
# as path 2 does, and brings larger photos to the same size and quality first. Without that, the
# same photo in full size gives another score (docs/experiments.md).
_PATHS = {
    1: _PixelPath(oversampling=2, resampling=Image.Resampling.BICUBIC),
    2: _PixelPath(oversampling=1, resampling=Image.Resampling.HAMMING),
    3: _PixelPath(_ARCHIVED_SCALE, Image.Resampling.HAMMING, as_archived=True),
}
PIXEL_PATHS = tuple(_PATHS)
DEFAULT_PATH = 2
JPEG_QUALITY = 95  # of the cut, with full chroma
# Fraction of the shorter side by which a picture is recognised, which leaves the rim out: hashes of
# the whole square took 1,171 pairs of different lesions for one picture.
_RECOGNISED = 0.6
RECOGNISED_SIDE = 64  # pixels: four for each of the 16 frequencies in a row
_STRIP_PIXELS = 1 << 20  # that are converted to RGB at once

# What makes a photo of an EXIF orientation upright; the last four swap width and height.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


class Cut(NamedTuple):
    """The cut as a TFRecord stores it, and the size of the photo it was cut from."""

    jpeg: bytes  # of the (S, S, 3) square
    width: int  # of the upright photo, pixels
    height: int


def read_square(
    data: bytes,
    *,
    size: int,
    crop_fraction: float,
    pixel_path: int = DEFAULT_PATH,
    max_bytes: int | None = None,
) -> Square:
    """Cut as `cut_square` does, and decode what a TFRecord would hold.

    Encoding and decoding the JPEG takes 0.6 ms, and serving sees exactly the pixels of training.
    Without it, the probabilities of 390 ISIC photos changed by 0.01 in the median and by 0.24 at
    most, and 12 of them crossed the threshold.

    Raises:
        ImageError, ValueError: as `cut_square`.
    """
    framing = Framing(size, crop_fraction, pixel_path)
    cut = cut_square(data, **framing._asdict(), max_bytes=max_bytes)
    with Image.open(io.BytesIO(cut.jpeg)) as image:
        return Square(np.asarray(image), cut.width, cut.height)


def cut_square(
    data: bytes,
    *,
    size: int,
    crop_fraction: float,
    pixel_path: int = DEFAULT_PATH,
    max_bytes: int | None = None,
) -> Cut:
    """Cut the centre square of side `crop_fraction * min(width, height)`, resized to `size`.

    Args:
        data: the file, any of `FORMATS`.
        size: side of the result, pixels, at least 1.
        crop_fraction: in (0, 1].
        pixel_path: one of `PIXEL_PATHS`, how the photo is decoded and resized.
        max_bytes: how much memory decoding may take beside the file; None: any.

    Raises:
        ImageError: the file cannot be used; the text gives the reason and the remedy.
        ValueError: `size`, `crop_fraction` or `pixel_path` out of range.
    """
    return _cut(data, [Framing(size, crop_fraction, pixel_path)], max_bytes)[0][0]


def cut_squares(
    data: bytes, framings: Sequence[Framing], *, max_bytes: int | None = None
) -> tuple[list[Cut], Image.Image]:
    """Cut several squares, each with the pixels of its own `cut_square`; decode no scale twice.

    Args:
        data: as for `cut_square`.
        framings: one for each square, at least one.
        max_bytes: as for `cut_square`.

    Returns:
        The cuts, and the photo, upright RGB, at the scale that the first of them was cut from.

    Raises:
        ImageError, ValueError: as `cut_square`.
    """
    cuts, photo, orientation = _cut(data, framings, max_bytes)
    try:
        return cuts, _turn(_join(photo), orientation)
    except MemoryError as error:
        raise TooMuchMemoryError from error


def choose_decoded_side(size: int, pixel_path: int) -> float:
    """Return the least side in pixels that the crop of a JPEG has when it is decoded smaller."""
    return _PATHS[pixel_path].oversampling * size


def shrink_centre(photo: Image.Image) -> Image.Image:
    """Shrink the centre of an RGB photo to `RECOGNISED_SIDE`, to compute its fingerprint from."""
    side = _RECOGNISED * min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    return photo.resize(
        (RECOGNISED_SIDE, RECOGNISED_SIDE),
        Image.Resampling.BICUBIC,
        box=(left, top, left + side, top + side),
        reducing_gap=1.0,
    )


def _cut(
    data: bytes, framings: Sequence[Framing], max_bytes: int | None
) -> tuple[list[Cut], Strips, int | None]:
    """Return the cuts, and what the first of them was cut from, with its orientation."""
    photos: dict[tuple[int, int], tuple[Strips, int | None]] = {}
    cuts = []
    for framing in framings:
        _require_valid(framing)
        image = _open(data)
        width, height = image.size
        reduced = _choose_scale(image, framing)
        try:
            if image.size not in photos:
                scale = image.size
                require_decodable(image, (width, height), data, max_bytes)
                photos[scale] = decode(image, reduced), _read_orientation(image)
            photo, orientation = photos[image.size]
            square = _cut_centre(photo, framing)
        except ImageError:
            raise
        except MemoryError as error:
            raise TooMuchMemoryError from error
        # The decoders get hostile bytes and raise all kinds of errors: OSError,
        # SyntaxError, struct.error, zlib.error, RuntimeError. Each means that the file is damaged.
        except Exception as error:
            raise DamagedImageError from error
        # Turned after the cut: the centre stays the centre, and the square is small.
        jpeg = io.BytesIO()
        # Pillow would copy the photo's comment, which may name a patient.
        _turn(square, orientation).save(
            jpeg, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4", comment=b""
        )
        if orientation in _SIDEWAYS:
            width, height = height, width
        cuts.append(Cut(jpeg.getvalue(), width, height))
    photo, orientation = next(iter(photos.values()))
    return cuts, photo, orientation


def _require_valid(framing: Framing) -> None:
    size, crop_fraction, pixel_path = framing
    if size < 1:
        raise ValueError(f"size must be at least 1. Received: {size}")
    if not 0 < crop_fraction <= 1:
        raise ValueError(f"crop_fraction must be in (0, 1]. Received: {crop_fraction}")
    if pixel_path not in _PATHS:
        raise ValueError(f"pixel_path must be one of {PIXEL_PATHS}. Received: {pixel_path}")


def _open(data: bytes) -> Image.Image:
    """Read only the header, and refuse what must not be decoded."""
    check_structure(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError as error:
        raise TooMuchMemoryError from error
    # As above: a damaged header can raise anything.
    except Exception as error:
        raise explain_unreadable(data) from error
    require_few_pixels(image)
    # HEIC and JPEG (MPO) files with several pictures name a primary one; animations do not.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise AnimatedImageError
    return image


def _choose_scale(image: Image.Image, framing: Framing) -> bool:
    """Have an image decoded no larger than the cut needs; return whether it is smaller.

    A JPEG is decoded at a reduced scale, and of a HEIC a thumbnail that is large enough.
    """
    needed = choose_decoded_side(framing.size, framing.pixel_path)
    scale = framing.crop_fraction * min(image.size) / needed
    if scale < 2:
        return False
    size = math.ceil(image.width / scale), math.ceil(image.height / scale)
    return image.draft(None, size) is not None


def _read_orientation(image: Image.Image) -> int | None:
    orientation: int | None = image.getexif().get(ExifTags.Base.Orientation)
    return orientation


def _turn(image: Image.Image, orientation: int | None) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _cut_centre(photo: Strips, framing: Framing) -> Image.Image:
    path = _PATHS[framing.pixel_path]
    side = framing.crop_fraction * min(photo.size)
    archived = round(_ARCHIVED_SCALE * framing.size)
    if not path.as_archived or side <= archived:
        return _resize_centre(photo, side, framing.size, path.resampling)
    file = io.BytesIO()
    small = _resize_centre(photo, side, archived, Image.Resampling.BICUBIC)
    small.save(file, "JPEG", quality=_ARCHIVED_QUALITY, subsampling="4:2:0")
    with Image.open(file) as square:
        return square.resize((framing.size, framing.size), path.resampling)


def _resize_centre(
    photo: Strips, side: float, size: int, resampling: Image.Resampling
) -> Image.Image:
    """Resize the centre square strip by strip, to the pixels that Pillow gives for the whole.

    Args:
        photo: upright or not.
        side: of the square, pixels of `photo`, at most its shorter side.
        size: side of the result, pixels.
        resampling: the filter, antialiased.
    """
    width, height = photo.size
    left, top = (width - side) / 2, (height - side) / 2
    if width * height <= _STRIP_PIXELS:
        box = (left, top, left + side, top + side)
        return _join(photo).resize((size, size), resampling, box=box)
    # Pillow 13 takes the way that it finds shorter; each pass rounds to 8 bits.
    if height > size and height + size > 2 * width:
        half = Image.new("RGB", (width, size))
        for box in _list_strips(photo.size, upright=True):
            strip = _to_rgb(photo.cut(box))
            rows = (0, top, strip.width, top + side)
            half.paste(strip.resize((strip.width, size), resampling, box=rows), (box[0], 0))
        return half.resize((size, size), resampling, box=(left, 0, left + side, size))
    half = Image.new("RGB", (size, height))
    for box in _list_strips(photo.size, upright=False):
        strip = _to_rgb(photo.cut(box))
        columns = (left, 0, left + side, strip.height)
        half.paste(strip.resize((size, strip.height), resampling, box=columns), (0, box[1]))
    return half.resize((size, size), resampling, box=(0, top, size, top + side))


def _join(photo: Strips) -> Image.Image:
    """Return the whole photo as RGB."""
    strips = list(_list_strips(photo.size, upright=False))
    if len(strips) == 1:
        return _to_rgb(photo.cut(strips[0]))
    whole = Image.new("RGB", photo.size)
    for box in strips:
        whole.paste(_to_rgb(photo.cut(box)), box[:2])
    return whole


def _list_strips(size: tuple[int, int], *, upright: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of strips that together cover an image: upright or lying, no more than
    `_STRIP_PIXELS` each unless a single line has more."""
    width, height = size
    length, across = (height, width) if upright else (width, height)
    lines = max(1, _STRIP_PIXELS // length)
    for start in range(0, across, lines):
        end = min(start + lines, across)
        yield (start, 0, end, height) if upright else (0, start, width, end)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB; transparent pixels become white."""
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")
