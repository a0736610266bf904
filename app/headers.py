"""Security headers of every response."""

from flask import Flask, Response, request

from config.headers import SECURITY_HEADERS

_YEAR = 365 * 24 * 3600


def add_headers(response: Response) -> Response:
    """Add the security headers, and keep caches from storing results."""
    response.headers.update(SECURITY_HEADERS)
    if request.is_secure:  # behind a trusted proxy that adds TLS
        response.headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
        response.vary.update(("Accept", "Accept-Language"))
    return response


def register(app: Flask) -> None:
    """Add the headers to every response of `app`."""
    app.after_request(add_headers)
