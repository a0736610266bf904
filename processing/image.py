"""Bytes of a photo -> upright RGB -> centre crop -> (S, S, 3) uint8.

This is the only code that decodes and resizes photos. The TFRecord builder stores the result of
`cut_square`, and the trainer and the web app decode it: a model sees the same pixels in both.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif")  # of their files
# 50 megapixels hold every current phone's default photo. At its worst that takes 330 MB as HEIC
# and 380 MB as PNG with alpha or progressive CMYK JPEG; a baseline JPEG takes next to nothing.
MAX_PIXELS = 50_000_000
# libwebp keeps three copies of the canvas: 300 MB. At 50 megapixels it took 940 MB, enough for a
# file of one kilobyte to end a 512-MB dyno.
MAX_WEBP_PIXELS = 16_000_000
# Ours is the stricter limit; Pillow's own would only warn between once and twice its value.
Image.MAX_IMAGE_PIXELS = None


class _PixelPath(NamedTuple):
    """How a photo becomes a square."""

    oversampling: int  # a JPEG is decoded at the smallest scale that leaves the crop that much
    resampling: Image.Resampling  # antialiased


# A model is served by the path that its training images went through, so that a path is never
# changed, only added. Mean and largest difference from a full decode with bicubic resampling, of
# 255, for a 24-megapixel photo: 0.2 and 2 by path 1, 0.5 and 7 by path 2, which takes 0.7 of the
# time (`benchmarks.input` measures both against the decoder alone).
_PATHS = {
    1: _PixelPath(oversampling=2, resampling=Image.Resampling.BICUBIC),
    2: _PixelPath(oversampling=1, resampling=Image.Resampling.HAMMING),
}
PIXEL_PATHS = tuple(_PATHS)
LATEST_PATH = max(_PATHS)
JPEG_QUALITY = 95  # of the cut, with full chroma

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

_READ_KINDS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_READ_BRANDS = (b"WEBP", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _(text: str) -> str:
    """Mark a text that is shown to people for translation."""
    return text


# Kinds that people send by mistake, by their first bytes, so that the message can name them.
_OTHER_KINDS = (
    (b"GIF8", _("a GIF")),
    (b"II*\0", _("a TIFF")),
    (b"MM\0*", _("a TIFF")),
    (b"BM", _("a BMP")),
    (b"%PDF", _("a PDF document")),
    (b"PK\x03\x04", _("a ZIP archive or office document")),
)


class ImageError(Exception):
    """The image cannot be used; the text can be shown to the sender.

    The text is `template` with `values` put in, so that it can be translated.
    """

    def __init__(self, template: str, **values: object) -> None:
        super().__init__(template % values)
        self.template, self.values = template, values


class UnsupportedImageError(ImageError):
    """Not an image of a supported kind."""


class AnimatedImageError(UnsupportedImageError):
    """An image of several frames, of which the one to judge is not known."""


class BrokenImageError(ImageError):
    """Empty, truncated or damaged."""


class TooManyPixelsError(ImageError):
    """More pixels than `MAX_PIXELS`, or `MAX_WEBP_PIXELS`."""


class Framing(NamedTuple):
    """Which square is cut from a photo, and how: the arguments of `cut_square`."""

    size: int
    crop_fraction: float
    pixel_path: int


class Cut(NamedTuple):
    """The cut as a TFRecord stores it, and the size of the photo it was cut from."""

    jpeg: bytes  # of the (S, S, 3) square
    width: int  # of the upright photo, pixels
    height: int


class Square(NamedTuple):
    """The cut as a model sees it, and the size of the photo it was cut from."""

    pixels: NDArray[np.uint8]  # (S, S, 3) RGB, 0..255
    width: int  # of the upright photo, pixels
    height: int


def read_square(
    data: bytes, *, size: int, crop_fraction: float, pixel_path: int = LATEST_PATH
) -> Square:
    """Cut as `cut_square` does, and decode what a TFRecord would hold.

    Encoding and decoding the JPEG takes 0.6 ms, and serving sees exactly the pixels of training.
    Without it, the probabilities of 390 ISIC photos changed by 0.01 in the median and by 0.24 at
    most, and 12 of them crossed the threshold.

    Raises:
        ImageError, ValueError: as `cut_square`.
    """
    cut = cut_square(data, size=size, crop_fraction=crop_fraction, pixel_path=pixel_path)
    with Image.open(io.BytesIO(cut.jpeg)) as image:
        return Square(np.asarray(image), cut.width, cut.height)


def cut_square(
    data: bytes, *, size: int, crop_fraction: float, pixel_path: int = LATEST_PATH
) -> Cut:
    """Cut the centre square of side `crop_fraction * min(width, height)`, resized to `size`.

    Args:
        data: the file, any of `FORMATS`.
        size: side of the result, pixels, at least 1.
        crop_fraction: in (0, 1].
        pixel_path: one of `PIXEL_PATHS`, how the photo is decoded and resized.

    Raises:
        ImageError: the file cannot be used; the text gives the reason and the remedy.
        ValueError: `size`, `crop_fraction` or `pixel_path` out of range.
    """
    return cut_squares(data, [Framing(size, crop_fraction, pixel_path)])[0][0]


def cut_squares(data: bytes, framings: Sequence[Framing]) -> tuple[list[Cut], Image.Image]:
    """Cut several squares, each with the pixels of its own `cut_square`; decode no scale twice.

    Args:
        data: as for `cut_square`.
        framings: one for each square, at least one.

    Returns:
        The cuts, and the photo, upright RGB, at the scale that the first of them was cut from.

    Raises:
        ImageError, ValueError: as `cut_square`.
    """
    photos: dict[tuple[int, int], tuple[Image.Image, int | None]] = {}
    cuts = []
    for framing in framings:
        _require_valid(framing)
        image = _open(data)
        width, height = image.size
        _choose_scale(image, framing)
        try:
            if image.size not in photos:
                image.load()
                orientation = image.getexif().get(ExifTags.Base.Orientation)
                photos[image.size] = _to_rgb(image), orientation
            photo, orientation = photos[image.size]
            square = _resize_centre(photo, framing)
        # The decoders get hostile bytes and raise all kinds of errors: OSError,
        # SyntaxError, struct.error, zlib.error, RuntimeError. Each means that the file is damaged.
        except Exception as error:
            text = _("The image is damaged or incomplete. Send the original again.")
            raise BrokenImageError(text) from error
        # Turned after the cut: the centre stays the centre, and the square is small.
        jpeg = io.BytesIO()
        # Pillow would copy the photo's comment, which may name a patient.
        _turn(square, orientation).save(
            jpeg, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4", comment=b""
        )
        if orientation in _SIDEWAYS:
            width, height = height, width
        cuts.append(Cut(jpeg.getvalue(), width, height))
    return cuts, _turn(*next(iter(photos.values())))


def _require_valid(framing: Framing) -> None:
    size, crop_fraction, pixel_path = framing
    if size < 1:
        raise ValueError(f"size must be at least 1. Received: {size}")
    if not 0 < crop_fraction <= 1:
        raise ValueError(f"crop_fraction must be in (0, 1]. Received: {crop_fraction}")
    if pixel_path not in _PATHS:
        raise ValueError(f"pixel_path must be one of {PIXEL_PATHS}. Received: {pixel_path}")


def _choose_scale(image: Image.Image, framing: Framing) -> None:
    """Set a JPEG to be decoded no larger than the cut needs."""
    needed = _PATHS[framing.pixel_path].oversampling * framing.size
    scale = framing.crop_fraction * min(image.size) / needed
    if scale >= 2:  # a no-op for all but JPEG
        image.draft(None, (math.ceil(image.width / scale), math.ceil(image.height / scale)))


def _turn(image: Image.Image, orientation: int | None) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _open(data: bytes) -> Image.Image:
    """Read only the header, and refuse what must not be decoded."""
    if not data:
        raise BrokenImageError(_("The file is empty. Choose the photo again."))
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    # As above: a damaged header can raise anything.
    except Exception as error:
        raise _explain_unreadable(data) from error
    max_pixels = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
    if image.width * image.height > max_pixels:
        raise TooManyPixelsError(
            _("The image has more than %(megapixels)d megapixels. Send a smaller copy."),
            megapixels=max_pixels // 1_000_000,
        )
    # HEIC and JPEG (MPO) files with several pictures name a primary one; animations do not.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise AnimatedImageError(_("The image is animated. Send a single still photo."))
    return image


def _explain_unreadable(data: bytes) -> ImageError:
    if data.startswith(_READ_KINDS) or data[8:12] in _READ_BRANDS:
        return BrokenImageError(
            _("The image is damaged: its header cannot be read. Send the original again.")
        )
    kind = next((name for magic, name in _OTHER_KINDS if data.startswith(magic)), None)
    if data[128:132] == b"DICM":
        kind = _("a DICOM file")
    if kind is None:
        return UnsupportedImageError(
            _("This is not a JPEG, PNG, WebP or HEIC photo. Send one of these.")
        )
    return UnsupportedImageError(
        _("This is %(kind)s, not a JPEG, PNG, WebP or HEIC photo. Send one of these."), kind=kind
    )


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


def _resize_centre(image: Image.Image, framing: Framing) -> Image.Image:
    side = framing.crop_fraction * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    resampling = _PATHS[framing.pixel_path].resampling
    return image.resize((framing.size, framing.size), resampling, box=box)
