"""What a form has to contain: photos, within limits. They are never written to disk."""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, NamedTuple

from flask_babel import gettext

from app.fair_share import UploadsFullError
from app.forms import Form, FormRequest
from app.languages import PARAMETER as LANGUAGE

FIELDS = FIELD, STABILITY = "image", "stability"
MAX_IMAGES = 10
_DISCARDED_BYTES = 100_000_000
_DISCARD_SECONDS = 20
_CHUNK_BYTES = 1 << 16
_NAME_CHARACTERS = 100


class NoImageError(Exception):
    """The request contains no photo; the text can be shown to the sender."""


class TooManyImagesError(Exception):
    """More photos than one form may have; the text can be shown to the sender."""


class WrongFieldError(Exception):
    """A form field or a parameter is unknown or invalid; the text can be shown to the sender."""


class Photo(NamedTuple):
    """An uploaded photo."""

    name: str  # of the file, without folders; only the response to its sender may contain it
    content: bytes


def find_photos(form: Form, most: int = MAX_IMAGES) -> list[Photo]:
    """Return the files in the form's field `image`, of which there may be `most`.

    Raises:
        NoImageError, TooManyImagesError
    """
    # A form whose file input was left empty sends a part without name and content.
    files = [file for file in form.files if file.field == FIELD and file.name]
    if not files:
        raise NoImageError(_explain_missing(form))
    if len(files) > most:
        raise TooManyImagesError(
            gettext(
                "%(sent)d photos were sent, at most %(allowed)d can be analysed at once. Send the "
                "rest afterwards.",
                sent=len(files),
                allowed=most,
            )
        )
    return [Photo(shorten_name(file.name), file.content) for file in files]


def refuse_unknown_parameters(names: Iterable[str]) -> None:
    """Refuse parameters in the address that mean nothing, rather than ignore what they ask for.

    Raises:
        WrongFieldError
    """
    for name in names:
        if name != LANGUAGE:
            raise WrongFieldError(
                gettext(
                    'The address has an unknown parameter, "%(name)s". Only %(allowed)s can be '
                    "given there. Send everything else as fields of the form: %(fields)s.",
                    name=shorten_name(name),
                    allowed=LANGUAGE,
                    fields=", ".join(FIELDS),
                )
            )


def refuse_unknown_fields(form: Form) -> None:
    """Refuse fields that mean nothing, rather than ignore what they ask for.

    Raises:
        WrongFieldError
    """
    for name in (*form.fields, *(file.field for file in form.files)):
        if name not in FIELDS:
            raise WrongFieldError(
                gettext(
                    'The form has an unknown field, "%(name)s". Allowed are: %(fields)s. Correct '
                    "its name, or leave it out.",
                    name=shorten_name(name),
                    fields=", ".join(FIELDS),
                )
            )
    if FIELD in form.fields:
        raise WrongFieldError(
            gettext('Each field "%(field)s" must be a file, with a file name.', field=FIELD)
        )


def find_stability(form: Form) -> bool:
    """Return whether the form asks for all orientations of its photos.

    Raises:
        WrongFieldError: the value is neither true nor false.
    """
    given = form.fields.get(STABILITY, "false")
    as_file = any(file.field == STABILITY for file in form.files)
    if as_file or given not in ("true", "false"):
        raise WrongFieldError(
            gettext('The field "%(field)s" must be true or false.', field=STABILITY)
        )
    return given == "true"


def _explain_missing(form: Form) -> str:
    if others := [file.field for file in form.files if file.name]:
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


def discard_upload(request: FormRequest) -> None:
    """Read and discard the rest of a refused request's body, within limits.

    If the connection were closed while the client is still sending, it would see a reset instead of
    the response that explains what is wrong.
    """
    # Beyond the announced length, the stream of a development server blocks.
    remaining = min((request.content_length or 0) - request.received, _DISCARDED_BYTES)
    if remaining <= 0:
        return
    deadline = time.monotonic() + _DISCARD_SECONDS
    stream: IO[bytes] = request.environ["wsgi.input"]
    # The client is gone, sends nonsense, or too many others are sending.
    with suppress(OSError, ValueError, UploadsFullError):
        request.begin_upload()
        while remaining > 0 and time.monotonic() < deadline:
            chunk = stream.read(min(_CHUNK_BYTES, remaining))
            if not chunk:
                return
            remaining -= len(chunk)
