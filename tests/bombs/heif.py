"""HEIC files that are made to harm, written box by box around one small coded tile."""

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import pillow_heif
from PIL import Image

TILE = 512  # side in pixels


class Item(NamedTuple):
    """An item of the file."""

    kind: bytes  # hvc1, grid, iovl, iden, Exif
    extents: Sequence[tuple[int, int]]  # start and length, in the data behind the boxes
    size: tuple[int, int] | None = None  # pixels, where it is a picture
    made_of: Sequence[int] = ()  # the items that a derived one is made of
    coded: bool = False  # carries the decoder's configuration


def pack_box(name: bytes, *contents: bytes) -> bytes:
    """A box with its length."""
    content = b"".join(contents)
    return (8 + len(content)).to_bytes(4) + name + content


def _full(name: bytes, version: int, *contents: bytes, flags: int = 0) -> bytes:
    return pack_box(name, bytes([version]) + flags.to_bytes(3), *contents)


def make_tile(chroma: int = 420) -> tuple[bytes, bytes]:
    """The decoder's configuration (a box) and the coded data of a black tile."""
    file = io.BytesIO()
    size = TILE, TILE
    pillow_heif.encode("RGB", size, bytes(3 * TILE * TILE), file, quality=50, chroma=chroma)
    whole = file.getvalue()
    at = whole.index(b"hvcC") - 4
    configuration = whole[at : at + int.from_bytes(whole[at : at + 4])]
    start = whole.index(b"mdat") + 4
    (pixels,) = re.findall(rb"\0\0.*", whole[start:], re.DOTALL)
    return configuration, pixels


def pack_grid(rows: int, columns: int) -> bytes:
    """The content of a grid item of so many tiles."""
    size = (columns * TILE).to_bytes(4) + (rows * TILE).to_bytes(4)
    return bytes([0, 1, rows - 1, columns - 1]) + size


def pack_overlay(width: int, height: int, layers: int) -> bytes:
    """The content of an overlay item of so many layers."""
    places = bytes(8) * layers
    return bytes([0, 1]) + bytes(8) + width.to_bytes(4) + height.to_bytes(4) + places


def pack_file(items: Sequence[Item], data: bytes, configuration: bytes, brand: bytes) -> bytes:
    """A file of these items, numbered from 1; the first is the one to show."""
    properties = [configuration]
    associations = []
    for number, item in enumerate(items, 1):
        used = [1] if item.coded else []
        if item.size:
            width, height = item.size
            properties.append(_full(b"ispe", 0, width.to_bytes(4), height.to_bytes(4)))
            used.append(len(properties))
        if used:
            associations.append(
                number.to_bytes(2)
                + bytes([len(used)])
                + b"".join((k | 1 << 15).to_bytes(2) for k in used)
            )
    entries = [
        _full(b"infe", 2, number.to_bytes(2), bytes(2), item.kind, b"\0")
        for number, item in enumerate(items, 1)
    ]
    references = [
        pack_box(
            b"cdsc" if item.kind == b"Exif" else b"dimg",
            number.to_bytes(2),
            len(item.made_of).to_bytes(2),
            *(k.to_bytes(2) for k in item.made_of),
        )
        for number, item in enumerate(items, 1)
        if item.made_of
    ]
    ftyp = pack_box(b"ftyp", brand, bytes(4), b"mif1", b"heic")

    def meta(start: int) -> bytes:
        places = [
            number.to_bytes(2)
            + bytes(2)
            + len(item.extents).to_bytes(2)
            + b"".join((start + at).to_bytes(4) + size.to_bytes(4) for at, size in item.extents)
            for number, item in enumerate(items, 1)
        ]
        return _full(
            b"meta",
            0,
            _full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            _full(b"pitm", 0, (1).to_bytes(2)),
            _full(b"iinf", 0, len(items).to_bytes(2), *entries),
            *([_full(b"iref", 0, *references)] if references else []),
            pack_box(
                b"iprp",
                pack_box(b"ipco", *properties),
                _full(b"ipma", 0, len(associations).to_bytes(4), *associations, flags=1),
            ),
            _full(b"iloc", 0, bytes([0x44, 0]), len(items).to_bytes(2), *places),
        )

    start = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(start) + pack_box(b"mdat", data)


def overlap_extents(count: int, length: int) -> bytes:
    """A picture whose Exif item is the same `length` bytes again and again."""
    configuration, pixels = make_tile()
    items = [
        Item(b"hvc1", [(0, len(pixels))], (TILE, TILE), coded=True),
        Item(b"Exif", [(0, length)] * count, made_of=[1]),
    ]
    return pack_file(items, pixels + bytes(length - len(pixels)), configuration, b"heic")


def repeat_tile(rows: int, columns: int, *, chroma: int = 420, brand: bytes = b"heic") -> bytes:
    """A grid that shows one tile everywhere."""
    configuration, pixels = make_tile(chroma)
    grid = pack_grid(rows, columns)
    items = [
        Item(b"grid", [(0, len(grid))], (columns * TILE, rows * TILE), [2] * (rows * columns)),
        Item(b"hvc1", [(len(grid), len(pixels))], (TILE, TILE), coded=True),
    ]
    return pack_file(items, grid + pixels, configuration, brand)


def overlay_tile(width: int, height: int, layers: int) -> bytes:
    """An overlay that puts one tile on itself again and again."""
    configuration, pixels = make_tile()
    overlay = pack_overlay(width, height, layers)
    items = [
        Item(b"iovl", [(0, len(overlay))], (width, height), [2] * layers),
        Item(b"hvc1", [(len(overlay), len(pixels))], (TILE, TILE), coded=True),
    ]
    return pack_file(items, overlay + pixels, configuration, b"heic")


def nest_grids(depth: int, tiles: int) -> bytes:
    """Grids of the same grid, so that their tiles multiply; the last shows a tile."""
    configuration, pixels = make_tile()
    grid = pack_grid(1, tiles)
    size = tiles * TILE, TILE
    items = [Item(b"grid", [(0, len(grid))], size, [number + 2] * tiles) for number in range(depth)]
    items.append(Item(b"hvc1", [(len(grid), len(pixels))], (TILE, TILE), coded=True))
    return pack_file(items, grid + pixels, configuration, b"heic")


def refer_in_a_circle() -> bytes:
    """Two derived items, each made of the other."""
    configuration, pixels = make_tile()
    items = [
        Item(b"iden", [(0, 0)], (TILE, TILE), [2]),
        Item(b"iden", [(0, 0)], (TILE, TILE), [1]),
    ]
    return pack_file(items, pixels, configuration, b"heic")


def make_large(width: int, height: int, chroma: int) -> bytes:
    """One coded picture of black pixels."""
    file = io.BytesIO()
    black = Image.new("RGB", (width, height))
    pillow_heif.encode("RGB", black.size, black.tobytes(), file, quality=10, chroma=chroma)
    return file.getvalue()
