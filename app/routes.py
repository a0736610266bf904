"""The routes: parse, call, answer."""

import logging
import time
from typing import cast

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
)

from app.admission import STUCK_SECONDS, BusyError, Queue, measure_longest_turn
from app.answer import Answer, answer_photo
from app.api import Answers, Entry, ImageProblem, describe_answer, describe_model, wants_json
from app.errors import KINDS, describe_problem
from app.forms import FormRequest, read_form
from app.limits import cap_photos, charge, refuse_wrong_key
from app.logs import log_event
from app.metrics import count_photo, stage
from app.openapi import describe_api
from app.page import photo_uri, render_page
from app.service import ModelInService, ModelUnavailableError
from app.table import Row, make_row, make_unreadable_row
from app.uploads import (
    MAX_IMAGES,
    Photo,
    find_photos,
    find_stability,
    refuse_unknown_fields,
    refuse_unknown_parameters,
)
from processing.decoding.decoder import Decoder
from processing.manifest import Manifest
from processing.refusals import ImageError

blueprint = Blueprint("main", __name__)
logger = logging.getLogger(__name__)

_Result = tuple[Photo, Answer | ImageError | BusyError]


def _service() -> ModelInService:
    service: ModelInService = current_app.extensions["model_in_service"]
    return service


@blueprint.get("/")
def show_page() -> str:
    """Show the page, before a photo is chosen."""
    return render_page()


@blueprint.post("/predict")
def predict() -> Response:
    """Classify the photos in the form's field `image`; respond with the page or with JSON.

    The JSON is `app.api.Answers`, with an entry for each photo in the order sent. If the only photo
    cannot be read, the request fails. If one of several cannot be read, or the time does not
    suffice for it, its entry is the problem, and the others are classified.

    :raise 400: no photo, too many photos, a damaged photo, an invalid form, or an unknown field or
        parameter.
    :raise 401: an API key that is not known.
    :raise 408: the upload did not arrive completely.
    :raise 413: too many bytes or pixels.
    :raise 415: not a form, not a supported kind of image, or an animation.
    :raise 429: more photos than this sender may send; see Retry-After.
    :raise 503: the model is not loaded, or the server is busy; see Retry-After.
    """
    started = time.monotonic()
    refuse_wrong_key()
    refuse_unknown_parameters(request.args)
    classifier = _service().classifier
    form = read_form(cast(FormRequest, request))
    photos = find_photos(form, cap_photos(MAX_IMAGES))
    refuse_unknown_fields(form)
    charge(len(photos))
    as_json = wants_json()
    stability = find_stability(form) or not as_json
    queue: Queue = current_app.extensions["queue"]
    decoder: Decoder = current_app.extensions["decoder"]
    results: list[_Result] = []
    with queue.place() as deadline:
        for photo in photos:
            try:
                answer = answer_photo(
                    photo.content, decoder, classifier, stability=stability, deadline=deadline
                )
            except (ImageError, BusyError) as error:
                if len(photos) == 1 or (isinstance(error, BusyError) and not results):
                    raise
                results.append((photo, error))
            else:
                results.append((photo, answer))
    manifest = classifier.manifest
    with stage("render"):
        response = _answer_json(results, manifest) if as_json else _answer_page(results, manifest)
    for _, result in results:
        score = result.probability if isinstance(result, Answer) and result.assessable else None
        count_photo(_outcome(result), score)
    log_event(
        logger,
        "predict",
        model=manifest.version,
        images=len(photos),
        bytes=sum(len(photo.content) for photo in photos),
        ms=round((time.monotonic() - started) * 1000),
        outcome=",".join(_outcome(result) for _, result in results),
    )
    return response


def _describe(result: _Result, manifest: Manifest) -> Entry:
    photo, answer = result
    if not isinstance(answer, Answer):
        return ImageProblem(name=photo.name, error=describe_problem(answer))
    return describe_answer(photo.name, answer, manifest)


def _answer_json(results: list[_Result], manifest: Manifest) -> Response:
    images = [_describe(result, manifest) for result in results]
    answers = Answers(images=images, model=describe_model(manifest))
    return Response(answers.model_dump_json(), mimetype="application/json")


def _answer_page(results: list[_Result], manifest: Manifest) -> Response:
    seen = [photo_uri(x.square) if isinstance(x, Answer) else None for _, x in results]
    entries = [_describe(result, manifest) for result in results]
    rows = [_make_row(result, manifest.version) for result in results]
    entries_seen = list(zip(entries, seen, strict=True))
    return make_response(render_page(entries=entries_seen, rows=rows, manifest=manifest))


def _make_row(result: _Result, version: str) -> Row:
    photo, answer = result
    if isinstance(answer, Answer):
        return make_row(photo.name, answer, version)
    return make_unreadable_row(photo.name, describe_problem(answer).detail, version)


def _outcome(result: Answer | ImageError | BusyError) -> str:
    if not isinstance(result, Answer):
        return type(result).__name__
    return result.label or "+".join(result.reasons)


@blueprint.get("/model")
def show_model() -> Response:
    """Show the model card of the current model, or its manifest as JSON.

    :raise 503: no model is loaded.
    """
    classifier, card = _service().served
    manifest = classifier.manifest
    if wants_json():
        return Response(manifest.model_dump_json(), mimetype="application/json")
    return make_response(render_template("model.html", manifest=manifest, card=card))


@blueprint.get("/openapi.json")
def describe() -> Response:
    """Serve the API's description, OpenAPI 3.1."""
    return jsonify(describe_api(current_app))


@blueprint.get("/docs")
def show_docs() -> str:
    """Show the API's description as a page."""
    return render_template("docs.html", api=describe_api(current_app), host=request.host_url)


@blueprint.get("/problems/<name>")
def show_problem(name: str) -> str:
    """Explain a type of problem, at the address that problems name as their type.

    :raise 404: there is no such type.
    """
    kind = next((kind for kind in KINDS if kind.type == request.path), None)
    return render_template("problem.html", kind=kind) if kind else abort(404)


@blueprint.get("/healthz")
def tell_health() -> Response:
    """Confirm that the process is running."""
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def tell_readiness() -> Response:
    """Report whether photos can be answered: 200, or 503 with the reason in one sentence."""
    if not _service().follows:
        return Response("The thread that loads models has ended.\n", 503, mimetype="text/plain")
    try:
        version = _service().classifier.manifest.version
    except ModelUnavailableError as error:
        return _tell_unready(str(error), error.retry_after_seconds)
    decoder: Decoder = current_app.extensions["decoder"]
    if max(measure_longest_turn(), decoder.measure_longest_turn()) > STUCK_SECONDS:
        return _tell_unready("stuck: a photo takes far too long", STUCK_SECONDS)
    return Response(f"ready: model {version}\n", mimetype="text/plain")


def _tell_unready(reason: str, retry_after_seconds: int) -> Response:
    response = Response(f"{reason}\n", status=503, mimetype="text/plain")
    response.headers["Retry-After"] = str(retry_after_seconds)
    return response
