"""Photos as they arrive: kept in memory, bounded, and never on disk."""

import time
from contextlib import suppress
from io import BytesIO
from typing import IO

from flask import Request

FIELD = "image"
MAX_IMAGES = 10
_DISCARDED_BYTES = 100_000_000
_DISCARD_SECONDS = 20
_CHUNK_BYTES = 1 << 16


class NoImageError(Exception):
    """The request carries no photo; the text is fit to show to the sender."""


class TooManyImagesError(Exception):
    """More photos than `MAX_IMAGES`; the text is fit to show to the sender."""


class InMemoryRequest(Request):
    """Keeps uploads in memory: Werkzeug would write those over 500 kB to a temporary file.

    `MAX_CONTENT_LENGTH` bounds them.
    """

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return BytesIO()


def read_photos(request: Request) -> list[bytes]:
    """The files of the form's field `image`.

    Raises:
        NoImageError, TooManyImagesError
        RequestEntityTooLarge: the body exceeds `MAX_CONTENT_LENGTH`.
    """
    # A form whose file input was left empty sends a part without name and content.
    files = [file for file in request.files.getlist(FIELD) if file.filename]
    if not files:
        raise NoImageError(
            f'Choose a photo first. (Programs: multipart/form-data with the file field "{FIELD}".)'
        )
    if len(files) > MAX_IMAGES:
        raise TooManyImagesError(
            f"{len(files)} photos were sent, at most {MAX_IMAGES} can be analysed at once. "
            "Send the rest afterwards."
        )
    return [file.read() for file in files]


def discard_upload(request: Request) -> None:
    """Read the body of a request that was refused for its size, within bounds.

    Were the connection closed on a sender who is still sending, it would see a reset instead of
    the answer that tells what is wrong.
    """
    # Beyond its announced length the bare stream of a development server blocks.
    remaining = min(request.content_length or 0, _DISCARDED_BYTES)
    deadline = time.monotonic() + _DISCARD_SECONDS
    stream: IO[bytes] = request.environ["wsgi.input"]
    with suppress(OSError):  # the sender is gone
        while remaining > 0 and time.monotonic() < deadline:
            chunk = stream.read(min(_CHUNK_BYTES, remaining))
            if not chunk:
                return
            remaining -= len(chunk)
