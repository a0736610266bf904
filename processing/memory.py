"""How much memory decoding a photo takes, known from its header."""

from typing import Any

from PIL import Image

from processing.headers import has_several_scans
from processing.refusals import TooManyPixelsError, TooMuchMemoryError

MAX_PIXELS = 50_000_000  # hold every current phone's default photo
MAX_WEBP_PIXELS = 16_000_000
# Bytes that Pillow takes for a pixel.
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
_OTHERS = 4
# The decoder's two canvases and the picture that it returns, of 4 bytes each.
_WEBP_BYTES = 12
# libheif holds the planes as coded and, once or twice, as RGB: measured, of 8 bits.
_HEIF_BYTES = {"monochrome": 2.0, 420: 4.5, 422: 5.0, 444: 9.0}
_COEFFICIENT_BYTES = 2


def require_few_pixels(image: Image.Image) -> None:
    """Refuse an image of more pixels than are read of its format.

    Raises:
        TooManyPixelsError: it has more.
    """
    limit = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
    if image.width * image.height > limit:
        raise TooManyPixelsError(limit // 1_000_000)


def require_decodable(
    image: Image.Image, full_size: tuple[int, int], data: bytes, max_bytes: int | None
) -> None:
    """Refuse an image that takes more than `max_bytes` to decode at the scale chosen by `draft`.

    Args:
        image: opened, not loaded.
        full_size: before `draft`, width and height in pixels.
        data: its file.
        max_bytes: None for any number.

    Raises:
        TooMuchMemoryError: it takes more.
    """
    if max_bytes is not None and _estimate(image, full_size, data) > max_bytes:
        raise TooMuchMemoryError


def _estimate(image: Image.Image, full_size: tuple[int, int], data: bytes) -> float:
    """Estimate the bytes that decoding takes at its peak, beside the file."""
    pixels = image.width * image.height
    if image.format == "WEBP":
        return pixels * _WEBP_BYTES
    if image.format == "HEIF":
        deep = 2 if image.info.get("bit_depth", 8) > 8 else 1
        alpha = 2 if "A" in image.mode or "a" in image.mode else 0
        return pixels * deep * (_HEIF_BYTES.get(image.info.get("chroma"), 9.0) + alpha)
    needed: float = pixels * _BYTES.get(image.mode, _OTHERS)
    if image.format in ("JPEG", "MPO") and has_several_scans(data):
        # libjpeg keeps the coefficients of the whole image until the last scan.
        needed += _COEFFICIENT_BYTES * _count_coefficients(image, full_size)
    return needed


def _count_coefficients(image: Any, full_size: tuple[int, int]) -> float:
    width, height = full_size
    samplings: list[tuple[int, int]] = [(across, down) for _, across, down, _ in image.layer]
    most = max(across for across, _ in samplings) * max(down for _, down in samplings)
    return width * height * sum(across * down for across, down in samplings) / most
