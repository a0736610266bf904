"""An ID for each request: in its response, in the log and in problems."""

import re
from uuid import uuid4

from flask import Flask, Response, g, request

from config.settings import Settings

HEADER = "X-Request-ID"
# Heroku's router gives each request one. Any other value could bring a visitor's words to the log.
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


def _add_header(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response


def register(app: Flask, settings: Settings) -> None:
    """Give every request of `app` an ID, as `flask.g.request_id`.

    Behind a proxy that is trusted it is that of the header, if that is a UUID.
    """

    def assign() -> None:
        given = request.headers.get(HEADER, "") if settings.trusted_proxies else ""
        g.request_id = given if _UUID.fullmatch(given) else uuid4().hex

    app.before_request(assign)
    app.after_request(_add_header)
