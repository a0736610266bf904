"""One name for each request: in its answer, in the log, and in a problem's text."""

import re
from uuid import uuid4

from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
# Heroku's router gives each request one already. Anything else that a client sends could forge
# lines of the log.
_FIT = re.compile(r"[\w-]{8,64}", re.ASCII)


def _assign() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if _FIT.fullmatch(given) else uuid4().hex


def _tell(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response


def register(app: Flask) -> None:
    """Let every request of `app` have one, as `flask.g.request_id`."""
    app.before_request(_assign)
    app.after_request(_tell)
