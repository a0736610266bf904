"""All errors are answered here: as `application/problem+json` (RFC 9457) or on the page."""

import logging
from http import HTTPStatus
from typing import NamedTuple, cast

from flask import Flask, Response, current_app, g, make_response, request
from flask_babel import gettext, lazy_gettext
from flask_babel.speaklater import LazyString
from flask_limiter.errors import RateLimitExceeded
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    RequestEntityTooLarge,
)

from app.admission import BusyError
from app.api import Problem, wants_json
from app.forms import MAX_PARTS, FormError, FormRequest, UnsupportedFormError
from app.languages import translate
from app.limits import WrongKeyError, seconds_to_wait
from app.logs import log_event
from app.page import render_page
from app.service import ModelUnavailableError
from app.uploads import NoImageError, TooManyImagesError, WrongFieldError, discard_upload
from processing.refusals import ImageError, TooLargeImageError, UnsupportedImageError

logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of error, which API clients recognise by its type."""

    error: type[Exception]
    status: int
    type: str
    title: LazyString
    explanation: LazyString  # what it means and what to do, for the page at the address `type`


_ = lazy_gettext
# The first class that matches decides. Other errors are plain HTTP statuses: "about:blank".
KINDS = (
    Kind(
        UnsupportedFormError,
        415,
        "/problems/form-unsupported",
        _("Not a form we can read"),
        _('Send the photo as "multipart/form-data", as a form with a file field does.'),
    ),
    Kind(
        FormError,
        400,
        "/problems/form-malformed",
        _("The form is malformed"),
        _("The form is malformed or incomplete. Let your program build it."),
    ),
    Kind(
        NoImageError,
        400,
        "/problems/image-missing",
        _("No photo was sent"),
        _('The form has no photo. Send each one as a file, in the field "image".'),
    ),
    Kind(
        TooManyImagesError,
        400,
        "/problems/too-many-images",
        _("Too many photos at once"),
        _("There are more photos in one form than are allowed. Send the rest afterwards."),
    ),
    Kind(
        WrongFieldError,
        400,
        "/problems/wrong-field",
        _("A field is unknown or invalid"),
        _(
            "A field of the form or a parameter of the address is not known, or its value is not "
            "allowed. Correct it, or leave it out."
        ),
    ),
    Kind(
        WrongKeyError,
        401,
        "/problems/wrong-api-key",
        _("The API key is not known"),
        _("This API key is not known here. Correct it, or send none."),
    ),
    Kind(
        UnsupportedImageError,
        415,
        "/problems/image-unsupported",
        _("Not a photo we can read"),
        _(
            "The file is not a JPEG, PNG, WebP or HEIC photo, or it is animated. Send a single "
            "still photo."
        ),
    ),
    Kind(
        TooLargeImageError,
        413,
        "/problems/image-too-large",
        _("The photo is too large"),
        _("The photo has too many pixels, or decoding takes too much memory. Send a smaller copy."),
    ),
    Kind(
        ImageError,
        400,
        "/problems/image-broken",
        _("The photo is damaged"),
        _("The photo is empty, damaged or incomplete. Send the original again."),
    ),
    Kind(
        RequestEntityTooLarge,
        413,
        "/problems/upload-too-large",
        _("The upload is too large"),
        _(
            "The form has more megabytes or more fields than can be sent at once. Send fewer "
            "photos, or smaller copies."
        ),
    ),
    Kind(
        ClientDisconnected,
        408,
        "/problems/upload-incomplete",
        _("The upload was interrupted"),
        _("The upload did not arrive completely in time. Send it again, or send a smaller copy."),
    ),
    Kind(
        RateLimitExceeded,
        429,
        "/problems/too-many-requests",
        _("Too many requests"),
        _(
            "Too many photos were sent in a short time. Wait for the seconds that the header "
            "Retry-After names, then go on."
        ),
    ),
    Kind(
        BusyError,
        503,
        "/problems/busy",
        _("Busy right now"),
        _("Many photos are being analysed right now. Try again in a moment."),
    ),
    Kind(
        ModelUnavailableError,
        503,
        "/problems/model-unavailable",
        _("Not ready yet"),
        _("The model is still loading, or cannot be loaded. Try again later."),
    ),
)


def describe_problem(error: Exception) -> Problem:
    """Describe an exception as a problem, in the language of the request."""
    for kind in KINDS:
        if isinstance(error, kind.error):
            return _make(kind.type, str(kind.title), kind.status, _detail(error))
    code = error.code if isinstance(error, HTTPException) and error.code else 500
    if code >= 500:
        detail = gettext(
            "Something went wrong on our side. Your photo was not kept. Try again later."
        )
    elif code == 404:
        detail = gettext("There is no such page.")
    elif isinstance(error, MethodNotAllowed):
        detail = gettext(
            "This address can only be called with %(methods)s. To check a photo, use the start "
            "page.",
            methods=", ".join(sorted({*(error.valid_methods or ())} - {"HEAD", "OPTIONS"})),
        )
    else:
        detail = _detail(error)
    return _make("about:blank", gettext(HTTPStatus(code).phrase), code, detail)


def _make(type_: str, title: str, status: int, detail: str) -> Problem:
    return Problem(type=type_, title=title, status=status, detail=detail, request_id=g.request_id)


def _detail(error: Exception) -> str:
    if isinstance(error, RequestEntityTooLarge):
        return gettext(
            "At most %(megabytes)d MB and %(parts)d fields can be sent at once. Send fewer photos, "
            "or smaller copies.",
            megabytes=current_app.config["MAX_CONTENT_LENGTH"] // 1_000_000,
            parts=MAX_PARTS,
        )
    if isinstance(error, RateLimitExceeded):
        return gettext(
            "Too many photos were sent in a short time. Try again in %(seconds)d seconds.",
            seconds=seconds_to_wait(),
        )
    if isinstance(error, ClientDisconnected):
        return gettext(
            "The upload did not arrive completely in time. Send it again, or send a smaller copy."
        )
    if isinstance(error, ImageError):
        return translate(error.template, error.values)
    if isinstance(error, HTTPException):
        return error.description or ""
    return str(error)


def answer_error(error: Exception) -> Response:
    """Build the response to a request that failed with `error`."""
    problem = describe_problem(error)
    if not isinstance(error, ClientDisconnected):
        discard_upload(cast(FormRequest, request))
    if wants_json():
        response = make_response(problem.model_dump_json())
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
    if isinstance(error, WrongKeyError):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimitExceeded):
        response.headers["Retry-After"] = str(seconds_to_wait())
    log_event(logger, "problem", at=request.endpoint, status=problem.status, type=problem.type)
    return response


def register(app: Flask) -> None:
    """Have `answer_error` handle all errors of `app`."""
    app.register_error_handler(HTTPException, answer_error)
    for kind in KINDS:
        app.register_error_handler(kind.error, answer_error)
