"""The routes: parse, call, answer."""

import logging
import time
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request

from app.answer import Answer, answer_photo
from app.errors import Problem, describe_problem
from app.page import (
    describe_answer,
    describe_model,
    photo_uri,
    render_card,
    render_page,
    wants_json,
)
from app.queue import Queue
from app.service import ModelInService, ModelUnavailableError
from app.uploads import read_photos
from processing.bundle import Manifest
from processing.image import ImageError

blueprint = Blueprint("main", __name__)
logger = logging.getLogger(__name__)


def _service() -> ModelInService:
    service: ModelInService = current_app.extensions["model_in_service"]
    return service


@blueprint.get("/")
def show_page() -> str:
    """The page, before a photo was chosen."""
    return render_page()


@blueprint.post("/predict")
def predict() -> Response:
    """Answer for the photos in the form's field `image`: the page, or JSON where it is asked for.

    JSON: `images`, one entry for each photo in the order sent, and `model`. A photo that cannot be
    read makes the request fail when it came alone; among several its entry is `{"error": problem}`
    and the others are answered.

    :raise 400: no photo, too many, or a damaged one.
    :raise 413: too many bytes or pixels.
    :raise 415: not a kind of image that is read, or an animation.
    :raise 503: the model is not loaded, or too many requests wait; see Retry-After.
    """
    started = time.monotonic()
    classifier = _service().classifier
    photos = read_photos(request)
    queue: Queue = current_app.extensions["queue"]
    results: list[Answer | Problem] = []
    with queue.place():
        for photo in photos:
            try:
                results.append(answer_photo(photo, classifier))
            except ImageError as error:
                if len(photos) == 1:
                    raise
                results.append(describe_problem(error))
    manifest = classifier.manifest
    response = _answer_json(results, manifest) if wants_json() else _answer_page(results, manifest)
    logger.info(
        "predict: model=%s images=%d bytes=%d ms=%.0f outcome=%s",
        manifest.version,
        len(photos),
        sum(map(len, photos)),
        (time.monotonic() - started) * 1000,
        ",".join(map(_outcome, results)),
    )
    return response


def _answer_json(results: list[Answer | Problem], manifest: Manifest) -> Response:
    images: list[dict[str, Any]] = [
        {"error": result} if isinstance(result, Problem) else describe_answer(result, manifest)
        for result in results
    ]
    return jsonify(images=images, model=describe_model(manifest))


def _answer_page(results: list[Answer | Problem], manifest: Manifest) -> Response:
    entries: list[dict[str, Any]] = [
        {"error": result}
        if isinstance(result, Problem)
        else {**describe_answer(result, manifest), "photo": photo_uri(result.square)}
        for result in results
    ]
    return make_response(render_page(entries=entries, manifest=manifest))


def _outcome(result: Answer | Problem) -> str:
    if isinstance(result, Problem):
        return result.type
    return result.label or "+".join(result.reasons)


@blueprint.get("/model")
def show_model() -> Response:
    """The card of the model in service: a page, or its manifest as JSON.

    :raise 503: no model is loaded.
    """
    bundle = _service().classifier.bundle
    if wants_json():
        return Response(bundle.manifest.model_dump_json(), mimetype="application/json")
    card = render_card(bundle.read_card())
    return make_response(render_template("model.html", manifest=bundle.manifest, card=card))


@blueprint.get("/healthz")
def tell_health() -> Response:
    """The process answers."""
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def tell_readiness() -> Response:
    """Whether a model is loaded: 200, or 503 with the reason in one sentence."""
    try:
        version = _service().classifier.manifest.version
    except ModelUnavailableError as error:
        response = Response(f"{error}\n", status=503, mimetype="text/plain")
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response
    return Response(f"ready: model {version}\n", mimetype="text/plain")
