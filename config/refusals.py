"""Answers to requests that never reach the app, as problems (RFC 9457), ready to be sent."""

import json

from config.headers import SECURITY_HEADERS


def build_refusal(
    status: int, phrase: str, detail: str, type_: str = "about:blank", **more: str
) -> bytes:
    """Build a whole HTTP response that ends the connection.

    Args:
        status, phrase: of HTTP, such as 400 and "Bad Request".
        detail: what is wrong and what to do, without a byte of the request.
        type_: of the problem.
        more: further headers, with "_" for "-".
    """
    body = json.dumps({"type": type_, "title": phrase, "status": status, "detail": detail}) + "\n"
    headers = SECURITY_HEADERS | {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


BUSY = build_refusal(
    *(503, "Service Unavailable"),
    "Too many connections are open right now. Try again in a moment.",
    "/problems/busy",
    Retry_After="2",
)
HEAD_TOO_LARGE = build_refusal(
    *(431, "Request Header Fields Too Large"),
    "The request's headers are too long. Clear the cookies of this site, or send fewer headers.",
)
HEAD_TOO_SLOW = build_refusal(
    *(408, "Request Timeout"),
    "The request's headers did not arrive in time. Send the request again.",
)
