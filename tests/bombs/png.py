"""PNGs that are made to harm."""

import struct
import zlib
from collections.abc import Sequence

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def pack_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def deflate_zeros(length: int) -> bytes:
    """Compress so many zeros, a thousandth of which remains."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(length >> 20)]
    return b"".join([*parts, packer.compress(bytes(length & ((1 << 20) - 1))), packer.flush()])


def make_png(
    colour: int,
    width: int,
    height: int,
    *,
    bits: int = 8,
    interlaced: bool = False,
    before: Sequence[tuple[bytes, bytes]] = (),
    split: int | None = None,
) -> bytes:
    """A PNG of black pixels.

    Args:
        before: names and contents of chunks to put before the pixels.
        split: bytes of each chunk of pixels; None: all in one.
    """
    row = 1 + (width * _CHANNELS[colour] * bits + 7) // 8
    # Interlaced, the same pixels come in up to seven passes, each with rows of its own.
    pixels = deflate_zeros(row * height + (16 * height if interlaced else 0))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header)]
    if colour == PALETTE:
        chunks.append((b"PLTE", bytes(3)))
    chunks += before
    step = split or len(pixels)
    chunks += [(b"IDAT", pixels[k : k + step]) for k in range(0, len(pixels), step)]
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pack_chunk(*chunk) for chunk in chunks)
