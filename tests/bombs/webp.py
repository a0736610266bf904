"""WebP files that are made to harm."""

import io

from PIL import Image

from tests.processing.photos import encode, make_picture


def _pack(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _describe(flags: int, width: int, height: int) -> bytes:
    return (
        bytes([flags, 0, 0, 0])
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )


def make_vast_canvas(width: int, height: int) -> bytes:
    """A small picture on a vast canvas."""
    picture = encode(make_picture(), "WEBP")
    frame = bytes(6) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little") + bytes(4)
    return _pack(
        [
            (b"VP8X", _describe(2, width, height)),
            (b"ANIM", bytes(6)),
            (b"ANMF", frame + picture[12:]),
        ]
    )


def make_large(width: int, height: int) -> bytes:
    """Black pixels, some hundred bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def animate(frames: int) -> bytes:
    """So many frames."""
    picture = encode(make_picture(), "WEBP")
    frame = bytes(6) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little") + bytes(4)
    chunks = [(b"VP8X", _describe(2, 4000, 4000)), (b"ANIM", bytes(6))]
    return _pack(chunks + [(b"ANMF", frame + picture[12:])] * frames)
