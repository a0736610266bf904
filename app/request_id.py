"""An ID for each request: in its response, in the log and in problems."""

import re
from uuid import uuid4

from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
# Heroku's router already gives each request one. Any other value that a client sends could forge
# lines of the log.
_FIT = re.compile(r"[\w-]{8,64}", re.ASCII)


def _assign() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if _FIT.fullmatch(given) else uuid4().hex


def _add_header(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response


def register(app: Flask) -> None:
    """Give every request of `app` an ID, as `flask.g.request_id`."""
    app.before_request(_assign)
    app.after_request(_add_header)
