"""Forms are read part by part, and each byte of them is counted before it is kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from flask import Request, current_app
from flask_babel import gettext
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.http import parse_options_header

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

from app.fair_share import Upload, Uploads, UploadsFullError

MAX_PARTS = 100  # of a form, files and other fields
MAX_FIELD_BYTES = 1 << 14
_MAX_HEADER_BYTES, _MAX_HEADERS = 1 << 12, 8  # of a part
_MAX_BOUNDARY = 200  # RFC 2046 allows 70; some programs send a few more
_CHUNK_BYTES = 1 << 16


class UnsupportedFormError(Exception):
    """The request's body is not a form that can be read; the text can be shown to the sender."""

    def __init__(self) -> None:
        super().__init__(
            gettext('Send the photo as "multipart/form-data", as a form with a file field does.')
        )


class FormError(Exception):
    """The form does not keep to the rules; the text can be shown to the sender."""


class FormRequest(Request):
    """A request whose form `read_form` alone reads.

    `MAX_CONTENT_LENGTH` limits it. An interrupted upload raises `ClientDisconnected`.
    """

    want_form_data_parsed = False  # Werkzeug's way does not limit what a form takes

    def __init__(self, environ: "WSGIEnvironment", **options: bool) -> None:
        if environ.get("CONTENT_LENGTH"):
            # gunicorn declares that its stream ends with the body, but it also ends when the client
            # disconnects. Only a stream of known length distinguishes the two.
            environ.pop("wsgi.input_terminated", None)
        super().__init__(environ, **options)
        self.received = 0  # bytes of the body
        self._upload: Upload | None = None

    def begin_upload(self) -> Upload:
        """Take a place for the upload, or for the rest of it.

        Raises:
            UploadsFullError: there is none.
        """
        uploads: Uploads = current_app.extensions["uploads"]
        if self._upload:
            self._upload.close()
        self._upload = uploads.begin(self.remote_addr or "", self._end)
        return self._upload

    def _end(self) -> None:
        connection = self.environ.get("gunicorn.socket")
        if end := getattr(connection, "end_reading", None):  # see config.paced_socket
            end()

    def read_chunks(self) -> Iterator[bytes]:
        """Read the body.

        Raises:
            FormError: its chunks are malformed.
            ClientDisconnected, RequestEntityTooLarge
        """
        while chunk := self._read_chunk():
            self.received += len(chunk)
            yield chunk

    def _read_chunk(self) -> bytes:
        try:
            return self.stream.read(_CHUNK_BYTES)
        except ClientDisconnected as error:
            if self._upload and self._upload.ended:
                raise UploadsFullError from None
            if isinstance(error.__context__, ValueError):  # see config.worker
                raise FormError(
                    gettext("The request's body is malformed. Send it again.")
                ) from None
            raise

    def close(self) -> None:
        """Also give back what the upload took."""
        super().close()
        if self._upload:
            self._upload.close()


@dataclass(frozen=True)
class File:
    """A file of a form."""

    field: str
    name: str
    content: bytes


@dataclass(frozen=True)
class Form:
    """What a form contains."""

    files: list[File] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)  # of several values the first


def read_form(request: FormRequest) -> Form:
    """Read the request's form.

    Raises:
        UnsupportedFormError: it is not multipart/form-data.
        FormError: it is malformed.
        RequestEntityTooLarge: the body exceeds `MAX_CONTENT_LENGTH`, or has too many or too long
            fields.
        ClientDisconnected: the upload was interrupted.
        UploadsFullError: other uploads use all the room for uploads.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedFormError
    boundary = request.mimetype_params.get("boundary", "")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise FormError(
            gettext(
                'The header "Content-Type" has no valid boundary. Let your program set this header.'
            )
        )
    form = Form()
    upload = request.begin_upload()
    try:
        for event in _parse(request, upload, boundary):
            if isinstance(event, MultipartSegment):
                name, file_name = _read_names(event)
                content = BytesIO()
            elif event:
                if file_name is None and content.tell() + len(event) > MAX_FIELD_BYTES:
                    raise RequestEntityTooLarge
                content.write(event)
            elif file_name is None:
                form.fields.setdefault(name, content.getvalue().decode(errors="replace"))
            else:
                form.files.append(File(name, file_name, content.getvalue()))
    except ParserLimitReached as error:
        raise RequestEntityTooLarge from error
    except MultipartError as error:
        raise FormError(
            gettext("The form is malformed or incomplete. Let your program build it.")
        ) from error
    finally:
        upload.arrive()
    return form


def _parse(
    request: FormRequest, upload: Upload, boundary: str
) -> Iterator[MultipartSegment | bytes | None]:
    """Yield the head of each part, then pieces of its content, then None."""
    parser = PushMultipartParser(
        boundary,
        max_header_size=_MAX_HEADER_BYTES,
        max_header_count=_MAX_HEADERS,
        max_segment_count=MAX_PARTS,
        header_charset="latin-1",  # any byte; see _read_names
    )
    begun = False
    for chunk in request.read_chunks():
        upload.take(len(chunk))
        for event in parser.parse(chunk):
            begun = True
            yield event
        if not begun and request.received > MAX_FIELD_BYTES:
            raise FormError(gettext("The form does not begin with its boundary."))
    parser.close()


def _read_names(segment: MultipartSegment) -> tuple[str, str | None]:
    """Return the names of a part's field and of its file; None if it is not a file."""
    given = segment.header("Content-Disposition").encode("latin-1").decode(errors="replace")
    _, options = parse_options_header(given)
    if not options.get("name"):
        raise FormError(gettext("A part of the form has no name."))
    return options["name"], options.get("filename")
