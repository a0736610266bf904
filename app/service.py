"""The model in service: fetched and loaded in the background, so that the port binds at once."""

import logging
import random
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from flask_babel import gettext
from markupsafe import Markup

from app.classifier import Classifier
from app.markdown import render_card
from app.metrics import count_loader_fault, report_model
from app.trial import try_bundle
from config.settings import Settings
from processing.bundle import Bundle, BundleError, read_bundle
from processing.store.base import StoreError, locked
from processing.store.last_good import recall, remember
from processing.store.open import fetch_bundle, find_version

EMBEDDED_BUNDLE = Path(__file__).with_name("model") / "default"
# Loading takes a fraction of a second from disk and a few seconds from a store.
LOADING_RETRY_AFTER_SECONDS = 2
FIRST_RETRY_SECONDS = 5
LAST_RETRY_SECONDS = 300

logger = logging.getLogger(__name__)


class ModelUnavailableError(Exception):
    """No model is loaded at present; the text can be shown to a visitor."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Served(NamedTuple):
    """A model, and its card as it was when the model was loaded."""

    classifier: Classifier
    card: Markup


class ModelInService:
    """Holds the current classifier, and replaces it when another model is published.

    If the store cannot be read at the start, its last good version is loaded from the cache. With
    `MODEL_FALLBACK=default` the embedded model serves until the configured one is loaded. Otherwise
    requests are refused until then, so that nobody gets another model's result.
    """

    def __init__(self, settings: Settings, *, threads: int) -> None:
        self._settings = settings
        self._threads = threads
        self._served: Served | None = None
        self._retry_at: float | None = None  # monotonic; None while the first attempt runs
        self._stopped = threading.Event()
        self._loader = threading.Thread(target=self._run, name="model-loader", daemon=True)
        self._loaded = self._finished = False  # the wanted model, and the thread's work
        self._refused: str | None = None  # a version that is complete but cannot be served

    def start(self) -> None:
        """Begin to load. Call this in the serving process: threads do not survive a fork."""
        self._loader.start()

    def stop(self) -> None:
        """Load no further models; the current one stays in service."""
        self._stopped.set()

    @property
    def follows(self) -> bool:
        """Whether the thread that loads models runs, or has nothing left to do."""
        return self._loader.is_alive() or self._finished

    @property
    def classifier(self) -> Classifier:
        """The current classifier.

        Raises:
            ModelUnavailableError: the model is still loading, or cannot be loaded.
        """
        return self.served.classifier

    @property
    def served(self) -> Served:
        """The current classifier with its card.

        Raises:
            ModelUnavailableError: the model is still loading, or cannot be loaded.
        """
        if self._served is not None:
            return self._served
        if self._retry_at is None:
            raise ModelUnavailableError(
                gettext("The model is still loading. Try again in a few seconds."),
                LOADING_RETRY_AFTER_SECONDS,
            )
        seconds = max(round(self._retry_at - time.monotonic()), LOADING_RETRY_AFTER_SECONDS)
        raise ModelUnavailableError(
            gettext("The model cannot be loaded at the moment. Try again later."), seconds
        )

    def _run(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while not self._stopped.is_set():
            try:
                current = self._step()
            # Catch everything: no other thread loads models, and this one has to try again.
            except Exception as error:
                count_loader_fault()
                logger.exception("The model loader failed: %s", error)
                current = False
            if current and self._settings.model_uri is None:
                break
            if current:
                # So that workers and dynos that started together do not all ask the store at once.
                seconds = self._settings.model_refresh_seconds * random.uniform(0.8, 1.2)  # nosec B311
                pause = FIRST_RETRY_SECONDS
            else:
                self._retry_at = time.monotonic() + pause
                seconds, pause = pause, min(2 * pause, LAST_RETRY_SECONDS)
            self._stopped.wait(seconds)
        self._finished = True

    def _step(self) -> bool:
        """Load what is missing or newer; return whether the model of `MODEL_URI` is there."""
        uri = self._settings.model_uri
        if self._loaded:
            if uri and self._is_outdated(uri):
                self._try_to_serve(uri)
            return True
        if uri and self._served is None and self._settings.model_fallback == "default":
            self._try_to_serve(None)
        self._loaded = self._try_to_serve(uri)
        if uri and self._served is None:
            self._serve_last_good(uri)
        return self._loaded

    def _is_outdated(self, uri: str) -> bool:
        try:
            version = find_version(uri)
        except (StoreError, BundleError) as error:  # maybe for an hour; the current model stays
            count_loader_fault()
            logger.warning("The current version in the store cannot be read: %s", error)
            return False
        return version not in (self.classifier.manifest.version, self._refused)

    def _serve_last_good(self, uri: str) -> None:
        try:
            bundle = recall(uri, self._settings.model_cache)
            self._put(self._load(bundle, uri))
        except (StoreError, BundleError) as error:
            logger.info("There is no earlier model in the cache: %s", error)
        else:
            logger.warning(
                "Model %s, the last good one, is used from the cache", bundle.manifest.version
            )

    def _load(self, bundle: Bundle, uri: str | None) -> Served:
        if uri:
            # The workers of a dyno try a model from S3 one after the other, for the memory's sake.
            cached = uri.startswith("s3:")
            with locked(self._settings.model_cache) if cached else nullcontext():
                try_bundle(bundle)
        classifier = Classifier(bundle, threads=self._threads)
        return Served(classifier, render_card(bundle.read_card()))

    def _put(self, served: Served) -> None:
        before = self._served and self._served.classifier.manifest
        report_model(served.classifier.manifest, before)
        self._served = served

    def _try_to_serve(self, uri: str | None) -> bool:
        started = time.monotonic()
        version = None
        try:
            bundle = open_bundle(uri, self._settings.model_cache)
            version = bundle.manifest.version
            self._put(self._load(bundle, uri))
        except Exception as error:
            count_loader_fault()
            if isinstance(error, BundleError):
                self._refused = version
            logger.exception("Model not loaded from %s: %s", uri or EMBEDDED_BUNDLE, error)
            return False
        milliseconds = (time.monotonic() - started) * 1000
        logger.info("Model %s in service after %.0f ms", version, milliseconds)
        if uri and uri.startswith("s3:"):
            try:
                remember(uri, bundle, self._settings.model_cache)
            except StoreError as error:
                logger.warning(
                    "The cache cannot keep this model for a start without %s: %s", uri, error
                )
        return True


def open_bundle(uri: str | None, cache: Path) -> Bundle:
    """Read the embedded bundle (None), or fetch the one that `uri` names.

    Raises:
        StoreError, BundleError: it cannot be read, or is damaged.
    """
    return read_bundle(EMBEDDED_BUNDLE) if uri is None else fetch_bundle(uri, cache)
