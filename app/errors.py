"""Every fault, answered in one place: as `application/problem+json` (RFC 9457) or on the page."""

import logging
from dataclasses import asdict, dataclass
from http import HTTPStatus

from flask import Flask, Response, current_app, json, make_response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.page import render_page, wants_json
from app.queue import BusyError
from app.service import ModelUnavailableError
from app.uploads import NoImageError, TooManyImagesError, discard_upload
from processing.image import ImageError, TooManyPixelsError, UnsupportedImageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """The members of RFC 9457. `type` is stable: clients may rely on it."""

    type: str
    title: str
    status: int
    detail: str


# The first class that fits decides. What is not listed is a plain HTTP status: "about:blank".
_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (NoImageError, 400, "/problems/image-missing", "No photo was sent"),
    (TooManyImagesError, 400, "/problems/too-many-images", "Too many photos at once"),
    (UnsupportedImageError, 415, "/problems/image-unsupported", "Not a photo we can read"),
    (TooManyPixelsError, 413, "/problems/image-too-large", "The photo is too large"),
    (ImageError, 400, "/problems/image-broken", "The photo is damaged"),
    (RequestEntityTooLarge, 413, "/problems/upload-too-large", "The upload is too large"),
    (BusyError, 503, "/problems/busy", "Busy right now"),
    (ModelUnavailableError, 503, "/problems/model-unavailable", "Not ready yet"),
)
_OUR_FAULT = "Something went wrong on our side. Your photo was not kept. Try again later."


def describe_problem(error: Exception) -> Problem:
    """The problem that an exception stands for."""
    for kind, status, type_, title in _KINDS:
        if isinstance(error, kind):
            return Problem(type_, title, status, _detail(error))
    code = error.code if isinstance(error, HTTPException) and error.code else 500
    detail = _OUR_FAULT if code >= 500 else _detail(error)
    return Problem("about:blank", HTTPStatus(code).phrase, code, detail)


def _detail(error: Exception) -> str:
    if isinstance(error, RequestEntityTooLarge):
        megabytes = current_app.config["MAX_CONTENT_LENGTH"] // 1_000_000
        return f"At most {megabytes} MB can be sent at once. Send fewer photos, or smaller copies."
    if isinstance(error, HTTPException):
        return error.description or ""
    return str(error)


def answer_error(error: Exception) -> Response:
    """The answer to a request that failed with `error`."""
    problem = describe_problem(error)
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        discard_upload(request)
    if wants_json():
        response = make_response(json.dumps(asdict(problem)))
        response.mimetype = "application/problem+json"
    else:
        response = make_response(render_page(problem=problem))
    response.status_code = problem.status
    if isinstance(error, HTTPException):
        response.headers.extend(  # Allow, Retry-After and the like
            (name, value) for name, value in error.get_headers() if name != "Content-Type"
        )
    if isinstance(error, BusyError | ModelUnavailableError):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    logger.info("%s: status=%d type=%s", request.endpoint, problem.status, problem.type)
    return response


def register(app: Flask) -> None:
    """Let `answer_error` answer every fault of `app`."""
    app.register_error_handler(HTTPException, answer_error)
    for kind, *_ in _KINDS:
        app.register_error_handler(kind, answer_error)
