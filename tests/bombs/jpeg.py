"""JPEGs that are made to harm."""

import io
from typing import Any

from PIL import Image

from tests.processing.photos import encode, make_picture


def _encode(mode: str, size: tuple[int, int], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "JPEG", **options)
    return file.getvalue()


def repeat_scans(times: int, side: int = 4000) -> bytes:
    """A progressive JPEG whose last scan, of nothing, comes again and again."""
    data = _encode("L", (side, side), progressive=True)
    last = max(data.rfind(b"\xff\xc4", 0, data.rfind(b"\xff\xda")), 0)  # with its Huffman table
    return data[:last] + data[last:-2] * times + data[-2:]


def fill_with_exif(length: int) -> bytes:
    """A JPEG with `length` bytes of Exif segments that hold nothing."""
    data, segment = encode(make_picture(), "JPEG"), b"\xff\xe1\0\x08Exif\0\0"
    return data[:2] + segment * (length // len(segment)) + data[2:]


def fill_with_tables(length: int) -> bytes:
    """A JPEG with `length` bytes of quantisation tables."""
    data = encode(make_picture(), "JPEG")
    at = data.index(b"\xff\xdb")
    table = data[at : at + 69]
    return data[:at] + table * (length // len(table)) + data[at:]


def fill_with_junk(length: int) -> bytes:
    """A JPEG with bytes between its segments that belong to none."""
    data = encode(make_picture(), "JPEG")
    return data[:2] + encode(make_picture(), "JPEG")[2:20] + bytes(length) + data[20:]


def make_large(mode: str, size: tuple[int, int], *, progressive: bool) -> bytes:
    """A JPEG of black pixels."""
    return _encode(mode, size, progressive=progressive, quality=75)


def code_arithmetically() -> bytes:
    """A JPEG that claims another coding than it has."""
    data = _encode("RGB", (5000, 5000))
    return data.replace(b"\xff\xc0", b"\xff\xc9", 1)


def nest_pictures(count: int) -> bytes:
    """A JPEG that lists many more pictures behind the first (MPO)."""
    file = io.BytesIO()
    picture = make_picture()
    picture.save(file, "MPO", save_all=True, append_images=[picture] * count)
    return file.getvalue()
