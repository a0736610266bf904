"""Checks of a photo's file that need no decoder and take milliseconds.

Decoders trust the number and size of a file's parts. A file of a megabyte can thus keep one busy
for a minute, or make it take gigabytes before it knows how many pixels there are. The limits are
far above what cameras and programs write.
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from processing.refusals import DamagedImageError, EmptyImageError, StrangeImageError

MAX_SCANS = 100  # of a JPEG; programs write 10, and libjpeg goes over the whole photo for each
MAX_SEGMENTS = 600  # of a JPEG before its first scan; a colour profile may take 255
MAX_EXIF_SEGMENTS = 8  # Pillow joins them in quadratic time
MAX_CHUNKS = 20_000  # of a PNG or WebP; a PNG of 20 MB in chunks of 4 KB has 5,000
MAX_OTHER_CHUNKS = 200  # of a PNG that hold no pixels
MAX_OTHER_BYTES = 8_000_000  # of these chunks together
MAX_EXTENTS = 2_000  # of a HEIC's items together
_MAX_META_BYTES = 4_000_000  # of the box that lists a HEIC's items

_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SCAN = re.compile(rb"\xff\xda")  # finds them in a third of the time that bytes.count takes
_SOS, _EOI = 0xDA, 0xD9
# Baseline and extended, also with arithmetic coding: one scan of all components is the whole photo.
_ONE_SCAN_FRAMES = (0xC0, 0xC1, 0xC9)
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RST, SOI


def check_structure(data: bytes) -> None:
    """Refuse a file with more parts than a photo needs.

    A file that is no photo, or is damaged, may pass: its decoder will say so.

    Raises:
        BrokenImageError: the file is empty, or has too many parts.
    """
    if not data:
        raise EmptyImageError
    if data.startswith(b"\xff\xd8\xff"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _check_webp(data)
    elif data[4:8] == b"ftyp":
        _check_heif(data)


def has_several_scans(data: bytes) -> bool:
    """Return whether a JPEG has more than one scan, so that libjpeg holds it twice."""
    components = 0
    for marker, at in _list_markers(data):
        if marker == _SOS:
            return data[at + 2 : at + 3] != bytes([components])
        if marker in _ONE_SCAN_FRAMES:
            components = data[at + 7] if at + 7 < len(data) else 0
    return True


def _list_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG up to the end of its picture, and the place of its length."""
    at = 2
    while found := _NEXT_MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == _EOI:
            return
        if marker in _ALONE:
            continue
        yield marker, at
        if at + 2 > len(data):
            return
        at += max(2, int.from_bytes(data[at : at + 2]))


def _has_few_scans(data: bytes) -> bool:
    return sum(1 for _ in islice(_SCAN.finditer(data), MAX_SCANS + 1)) <= MAX_SCANS


def _check_jpeg(data: bytes) -> None:
    exif_segments = scans = 0
    # For nearly all photos, only what stands before the first scan is looked at. In scans 0xFF is
    # followed by 0 or a restart marker, so that counting finds all of them.
    few_scans = not has_several_scans(data) or _has_few_scans(data)
    for segments, (marker, at) in enumerate(_list_markers(data), 1):
        scans += marker == _SOS
        exif_segments += marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0"
        if scans and few_scans:
            return
        if (
            scans > MAX_SCANS
            or segments > MAX_SEGMENTS + 20 * scans  # tables may stand before each scan
            or exif_segments > MAX_EXIF_SEGMENTS
        ):
            raise StrangeImageError


def _check_png(data: bytes) -> None:
    at, chunks, others, other_bytes = 8, 0, 0, 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks += 1
        if name not in (b"IDAT", b"fdAT", b"fcTL"):
            others += 1
            other_bytes += min(length, max(0, len(data) - at))
        if chunks > MAX_CHUNKS or others > MAX_OTHER_CHUNKS or other_bytes > MAX_OTHER_BYTES:
            raise StrangeImageError
        if name == b"IEND":
            return
        at += 12 + length


def _check_webp(data: bytes) -> None:
    at, chunks = 12, 0
    while at + 8 <= len(data):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        at += at % 2
        chunks += 1
        if chunks > MAX_OTHER_CHUNKS:
            raise StrangeImageError


def _check_heif(data: bytes) -> None:
    """Check where a HEIC's items lie: an item of many overlapping extents grows in memory."""
    meta = next((box for name, box in _list_boxes(data) if name == b"meta"), None)
    if meta is None:
        return
    if len(meta) > _MAX_META_BYTES:
        raise StrangeImageError
    for name, box in _list_boxes(meta[4:]):
        if name == b"iloc":
            extents, total = _sum_extents(box)
            if extents > MAX_EXTENTS:
                raise StrangeImageError
            if total > len(data):  # some overlap, or lie behind the end
                raise DamagedImageError


def _list_boxes(data: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and the content of each box."""
    view, at = memoryview(data), 0
    while at + 8 <= len(view):
        length, name = struct.unpack_from(">I4s", view, at)
        start = at + 8
        if length == 1 and at + 16 <= len(view):
            length, start = int.from_bytes(view[at + 8 : at + 16]), at + 16
        end = at + length if length else len(view)
        if end < start:
            return
        yield name, view[start:end]
        at = end


def _sum_extents(box: memoryview) -> tuple[int, int]:
    """Return the number of a HEIC's extents and the sum of their lengths, as `iloc` has them."""
    try:
        version = box[0]
        offset_size, length_size = box[4] >> 4, box[4] & 15
        base_size, index_size = box[5] >> 4, box[5] & 15 if version else 0
        wide = 4 if version == 2 else 2
        items, at = int.from_bytes(box[6 : 6 + wide]), 6 + wide
        fixed = wide + (2 if version else 0) + 2 + base_size
        size = index_size + offset_size + length_size
        extents = total = 0
        for _ in range(items):
            at += fixed
            if at + 2 > len(box):
                break
            count, at = int.from_bytes(box[at : at + 2]), at + 2
            extents += count
            if extents > MAX_EXTENTS:
                break
            for _ in range(count):
                end = at + size
                total += int.from_bytes(box[end - length_size : end])
                at = end
    except IndexError:  # truncated, as the decoder will find
        return 0, 0
    return extents, total
