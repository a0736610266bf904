"""Photos as files of every kind, drawn in code."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image

KINDS = ["JPEG", "PNG", "WEBP", "HEIC"]
BEST_HEIC = {"quality": -1, "chroma": 444}
# How to turn an upright picture so that a reader who obeys the orientation sees it upright again.
TURN_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def make_picture(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Two light and two dark quarters, no two alike, in steep but smooth transition."""
    x, y = np.linspace(-3, 3, width), np.linspace(-3, 3, height)[:, None]
    right, low = 1 / (1 + np.exp(-4 * x)), 1 / (1 + np.exp(-4 * y))
    red, green, blue = (
        40 + 180 * right + 0 * low,
        40 + 180 * low + 0 * right,
        120 + 60 * right * low,
    )
    return Image.fromarray(np.dstack([red, green, blue]).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of `kind`, at the best quality that it has."""
    if kind == "HEIC":
        return encode_heic(image, **options)
    best: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    file = io.BytesIO()
    image.save(file, kind, **(best.get(kind, {}) | options))
    return file.getvalue()


def encode_heic(image: Image.Image, **options: Any) -> bytes:
    """As phones do it: an orientation goes both into the Exif data and into the HEIF box."""
    file = io.BytesIO()
    pillow_heif.encode(image.mode, image.size, image.tobytes(), file, **(BEST_HEIC | options))
    return file.getvalue()


def turn(image: Image.Image, orientation: int) -> tuple[Image.Image, bytes]:
    """The picture as a camera held that way stores it, and the Exif data that describe it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    method = TURN_BACK[orientation]
    return (image if method is None else image.transpose(method)), exif.tobytes()


def encode_png16(pixels: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits per channel, (H, W) or (H, W, 3); Pillow writes no such RGB."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return _png(width, height, bits=16, colour_type=0 if pixels.ndim == 2 else 2, data=data)


def encode_vast_png(side: int) -> bytes:
    """A PNG of `side` x `side` black pixels, one bit each, made without an image of that size."""
    row = b"\0" + bytes((side + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return _png(side, side, bits=1, colour_type=0, data=data)


def _png(width: int, height: int, *, bits: int, colour_type: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
