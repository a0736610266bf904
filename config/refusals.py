"""Answers to requests that never reach the app, as problems (RFC 9457), ready to be sent."""

import json


def _build(status: int, phrase: str, type_: str, detail: str, *headers: str) -> bytes:
    body = json.dumps({"type": type_, "title": phrase, "status": status, "detail": detail}) + "\n"
    lines = (
        f"HTTP/1.1 {status} {phrase}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


BUSY = _build(
    *(503, "Service Unavailable", "/problems/busy"),
    "Too many connections are open right now. Try again in a moment.",
    "Retry-After: 2",
)
HEAD_TOO_LARGE = _build(
    *(431, "Request Header Fields Too Large", "about:blank"),
    "The request's headers are too long. Clear the cookies of this site, or send fewer headers.",
)
HEAD_TOO_SLOW = _build(
    *(408, "Request Timeout", "about:blank"),
    "The request's headers did not arrive in time. Send the request again.",
)
