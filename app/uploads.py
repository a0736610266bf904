"""Uploaded photos: kept in memory within limits, and never written to disk."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import IO, TYPE_CHECKING, NamedTuple

from flask import Request, current_app
from flask_babel import gettext

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from _typeshed.wsgi import WSGIEnvironment

from app.admission import BusyError

FIELD, STABILITY = "image", "stability"
MAX_IMAGES = 10
MAX_PARTS = 100  # of a form, files and other fields
_DISCARDED_BYTES = 100_000_000
_DISCARD_SECONDS = 20
_CHUNK_BYTES = 1 << 16
_NAME_CHARACTERS = 100


class NoImageError(Exception):
    """The request contains no photo; the text can be shown to the sender."""


class TooManyImagesError(Exception):
    """More photos than `MAX_IMAGES`; the text can be shown to the sender."""


class WrongFieldError(Exception):
    """A form field has an invalid value; the text can be shown to the sender."""


class UploadsFullError(BusyError):
    """Other uploads use all the memory reserved for uploads."""


class UploadMemory:
    """A limit for all uploads of one process together: a small host has 512 MB in total."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Reserve `size` bytes; a negative number returns them.

        Raises:
            UploadsFullError: there is not enough left.
        """
        with self._lock:
            if size > self._free:
                raise UploadsFullError
            self._free -= size


class _CountedFile(BytesIO):
    def __init__(self, take: Callable[[int], None]) -> None:
        super().__init__()
        self._take = take

    def write(self, data: "ReadableBuffer", /) -> int:
        self._take(memoryview(data).nbytes)
        return super().write(data)


class InMemoryRequest(Request):
    """Keeps uploads in memory: Werkzeug would write those over 500 kB to a temporary file.

    `MAX_CONTENT_LENGTH` limits them. An interrupted upload raises `ClientDisconnected`.
    """

    def __init__(self, environ: "WSGIEnvironment", **options: bool) -> None:
        if environ.get("CONTENT_LENGTH"):
            # gunicorn declares that its stream ends with the body, but it also ends when the client
            # disconnects. Only a stream of known length distinguishes the two.
            environ.pop("wsgi.input_terminated", None)
        super().__init__(environ, **options)
        self._taken = 0

    def _take(self, size: int) -> None:
        self._memory: UploadMemory = current_app.extensions["upload_memory"]
        self._memory.take(size)
        self._taken += size

    def close(self) -> None:
        """Also return the memory of the uploads."""
        super().close()
        if self._taken:
            self._memory.take(-self._taken)
            self._taken = 0

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return _CountedFile(self._take)


class Photo(NamedTuple):
    """An uploaded photo."""

    name: str  # of the file, without folders; only the response to its sender may contain it
    content: bytes


def read_photos(request: Request) -> list[Photo]:
    """Read the files in the form's field `image`.

    Raises:
        NoImageError, TooManyImagesError
        RequestEntityTooLarge: the body exceeds `MAX_CONTENT_LENGTH`, or has too many fields.
        ClientDisconnected: the upload was interrupted.
        UploadsFullError: other uploads use all the memory reserved for uploads.
    """
    # A form whose file input was left empty sends a part without name and content.
    files = [file for file in request.files.getlist(FIELD) if file.filename]
    if not files:
        raise NoImageError(_explain_missing(request))
    if len(files) > MAX_IMAGES:
        raise TooManyImagesError(
            gettext(
                "%(sent)d photos were sent, at most %(allowed)d can be analysed at once. Send the "
                "rest afterwards.",
                sent=len(files),
                allowed=MAX_IMAGES,
            )
        )
    return [Photo(shorten_name(file.filename or ""), file.read()) for file in files]


def read_stability(request: Request) -> bool:
    """Read whether the form asks for all orientations of its photos.

    Raises:
        WrongFieldError: the value is neither true nor false.
    """
    given = request.form.get(STABILITY, "false")
    if given not in ("true", "false"):
        raise WrongFieldError(
            gettext('The field "%(field)s" must be true or false.', field=STABILITY)
        )
    return given == "true"


def _explain_missing(request: Request) -> str:
    if others := [name for name, file in request.files.items() if name and file.filename]:
        return gettext(
            'The file was sent in the field "%(other)s". Send it in the field "%(field)s".',
            other=shorten_name(others[0]),
            field=FIELD,
        )
    return gettext(
        'Choose a photo first. (API: multipart/form-data with the file field "%(field)s".)',
        field=FIELD,
    )


def shorten_name(name: str) -> str:
    """Return a file's name without folders and control characters, cut to a readable length."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip()
    return shown if len(shown) <= _NAME_CHARACTERS else shown[: _NAME_CHARACTERS - 1] + "…"


def discard_upload(request: Request) -> None:
    """Read and discard the body of a refused request, within limits.

    If the connection were closed while the client is still sending, it would see a reset instead of
    the response that explains what is wrong.
    """
    # Beyond the announced length, the stream of a development server blocks.
    remaining = min(request.content_length or 0, _DISCARDED_BYTES)
    deadline = time.monotonic() + _DISCARD_SECONDS
    stream: IO[bytes] = request.environ["wsgi.input"]
    with suppress(OSError):  # the client is gone
        while remaining > 0 and time.monotonic() < deadline:
            chunk = stream.read(min(_CHUNK_BYTES, remaining))
            if not chunk:
                return
            remaining -= len(chunk)
