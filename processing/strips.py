"""A decoded photo that is read in strips from the decoder's own memory, and never held twice."""

from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

Box = tuple[int, int, int, int]


class Strips(NamedTuple):
    """A decoded photo, not turned yet, in the mode of its file."""

    size: tuple[int, int]  # width, height in pixels
    cut: Callable[[Box], Image.Image]  # left, top, right, bottom -> that part


def decode(image: Image.Image, reduced: bool) -> Strips:
    """Decode an image, at the reduced scale if `draft` has chosen one.

    Pillow copies what the decoders of HEIC and WebP return into an image of its own, of four bytes
    a pixel: for 24 megapixels 96 MB. Their parts are taken from what they return.
    """
    opened: Any = image
    if image.format == "WEBP":
        pixels, *_ = opened._get_next()
        opened._decoder = None  # its canvases take 8 bytes a pixel
        return _view(pixels, image.size, image.mode, opened.rawmode, 4 * image.width)
    if image.format == "HEIF" and not reduced:
        frame = opened._heif_file[opened.tell()]
        pixels = frame.data  # decodes; the size may change
        return _view(pixels, frame.size, frame.mode, frame.mode, frame.stride)
    image.load()
    whole = (0, 0, *image.size)
    return Strips(image.size, lambda box: image if box == whole else image.crop(box))


def _view(pixels: bytes, size: tuple[int, int], mode: str, raw_mode: str, row_bytes: int) -> Strips:
    view, pixel_bytes = memoryview(pixels), 2 if raw_mode == "I;16" else len(raw_mode)

    def cut(box: Box) -> Image.Image:
        left, top, right, bottom = box
        start = top * row_bytes + left * pixel_bytes
        end = (bottom - 1) * row_bytes + right * pixel_bytes
        part = view[start:end]
        return Image.frombytes(mode, (right - left, bottom - top), part, "raw", raw_mode, row_bytes)

    return Strips(size, cut)
