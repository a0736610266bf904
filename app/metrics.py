"""Metrics for Prometheus. Several workers share their counts through files in a folder.

gunicorn.conf.py creates the folder and sets `PROMETHEUS_MULTIPROC_DIR` before any worker imports
this.
"""

import hmac
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, Flask, Response, abort, current_app, g, request
from flask_babel import gettext
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from config.settings import Settings
from processing.manifest import Manifest

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
_METHODS = {"GET", "HEAD", "POST", "OPTIONS"}  # others share one label: each would stay for ever
_SCORES = tuple(i / 20 for i in range(1, 21))

_requests = Counter("melanoma_requests_total", "Responses sent.", ("endpoint", "method", "status"))
_latency = Histogram(
    "melanoma_request_seconds", "Time from request to response.", ("endpoint",), buckets=_SECONDS
)
_stages = Histogram(
    "melanoma_stage_seconds", "Time of one stage of a request.", ("stage",), buckets=_SECONDS
)
_photos = Counter("melanoma_photos_total", "Photos by outcome.", ("outcome",))
_scores = Histogram("melanoma_score", "Probabilities of judged photos.", buckets=_SCORES)
_places = Gauge("melanoma_places_taken", "Requests in the queue.", multiprocess_mode="livesum")
_models = Gauge(
    "melanoma_model_in_service",
    "1 for the version in service.",
    ("version",),
    multiprocess_mode="livemax",
)
_loader_faults = Counter(
    "melanoma_loader_faults_total", "Attempts to load or look for a model that failed."
)
_expected_scores = Gauge(
    "melanoma_expected_score_share",
    "Share of held-out lesions with a probability up to `le`, to compare melanoma_score with.",
    ("le",),
    multiprocess_mode="livemax",
)
_expected_refused = Gauge(
    "melanoma_expected_refused_share",
    "Share of held-out lesions that are rejected as not a lesion.",
    multiprocess_mode="livemax",
)

blueprint = Blueprint("metrics", __name__)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure the time of one stage of a request."""
    with _stages.labels(name).time():
        yield


def count_photo(outcome: str, probability: float | None) -> None:
    """Count a photo, and its `probability` if it got a label."""
    _photos.labels(outcome).inc()
    if probability is not None:
        _scores.observe(probability)


def count_places(change: int) -> None:
    """Add `change` to the number of places taken in the queue."""
    _places.inc(change)


def count_loader_fault() -> None:
    """Count an attempt to load or look for a model that failed."""
    _loader_faults.inc()


def report_model(manifest: Manifest, before: Manifest | None) -> None:
    """Report the model that is now in service, and the scores to expect from it."""
    if before:
        _models.labels(before.version).set(0)
    _models.labels(manifest.version).set(1)
    share = 0.0
    for number, part in enumerate(manifest.scores, 1):
        share += part
        _expected_scores.labels(f"{number / len(manifest.scores):g}").set(share)
    if manifest.outliers:
        _expected_refused.set(manifest.outliers.refused.value)


@blueprint.get("/metrics")
def show_metrics() -> Response:
    """Serve the metrics to clients that send `Authorization: Bearer METRICS_TOKEN`.

    :raise 401: the token is missing or wrong.
    :raise 404: `METRICS_TOKEN` is not set.
    """
    token: str | None = current_app.config["METRICS_TOKEN"]
    if token is None:
        abort(404)
    sent = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(sent, f"Bearer {token}".encode()):
        raise Unauthorized(
            gettext('Send the right token, as "Authorization: Bearer TOKEN".'),
            www_authenticate=WWWAuthenticate("bearer"),
        )
    registry = REGISTRY
    if _FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _start() -> None:
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    endpoint = request.endpoint or "none"
    if endpoint not in ("static", "metrics.show_metrics"):
        method = request.method if request.method in _METHODS else "other"
        _requests.labels(endpoint, method, response.status_code).inc()
        _latency.labels(endpoint).observe(time.perf_counter() - g.started)
    return response


def register(app: Flask, settings: Settings) -> None:
    """Count the responses of `app`, and serve the metrics at `/metrics`."""
    token = settings.metrics_token
    app.config["METRICS_TOKEN"] = token and token.get_secret_value()
    app.before_request(_start)
    app.after_request(_finish)
    app.register_blueprint(blueprint)
