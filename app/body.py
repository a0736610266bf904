"""The body of a request as the server reads it: what is wrong with it is the sender's fault."""

from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from flask import Flask
from flask_babel import gettext
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class _Body:
    """Raises 400 or 408 where the server's reader raises an error of its own, with bytes in it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:  # noqa: BLE001  # each server has its own
            raise _explain(error) from None

    def readline(self, size: int = -1) -> bytes:
        try:
            return self._stream.readline(size)
        except Exception as error:  # noqa: BLE001
            raise _explain(error) from None

    def readlines(self, _hint: int = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


def _explain(error: Exception) -> HTTPException:
    if isinstance(error, OSError):
        return ClientDisconnected()
    return BadRequest(gettext("The request's body is not valid HTTP. Send it again."))


class _WrapBody:
    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        environ["wsgi.input"] = _Body(environ["wsgi.input"])
        return self._app(environ, start_response)


def register(app: Flask) -> None:
    """Have `app` answer requests whose body cannot be read."""
    app.wsgi_app = _WrapBody(app.wsgi_app)  # type: ignore[method-assign]
