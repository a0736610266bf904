"""The name under which a request asks for us: one that no host can have gets 400."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, abort, request
from flask_babel import gettext

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A name or an IPv4 address, or an IPv6 address in brackets; and a port.
_HOST = re.compile(r"([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.IGNORECASE)
_WRONG = "melanoma.wrong_host"


def _can_be(host: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    try:  # Werkzeug does the same later on, where the error would be ours
        match[1].encode("idna")
        match[1].encode().decode("idna")
    except UnicodeError:  # a label that is empty, too long, or no Punycode
        return False
    return True


class _CheckHost:
    """Has Flask answer requests with an impossible host, of whose addresses it could build none."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if not _can_be(environ.get("HTTP_HOST", "localhost")):
            environ["HTTP_HOST"] = "localhost"
            environ[_WRONG] = True
        return self._app(environ, start_response)


def _refuse() -> None:
    if _WRONG in request.environ:
        abort(400, gettext("The header Host contains no name that a host can have."))


def register(app: Flask) -> None:
    """Refuse requests to `app` whose header Host names no host."""
    app.wsgi_app = _CheckHost(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_refuse)
