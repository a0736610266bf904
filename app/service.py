"""The model in service: fetched and loaded in the background, so that the port binds at once."""

import logging
import threading
import time
from pathlib import Path

from flask_babel import gettext

from app.classifier import Classifier
from config.settings import Settings
from processing.bundle import Bundle, read_bundle
from processing.store import fetch_bundle

EMBEDDED_BUNDLE = Path(__file__).with_name("model") / "default"
# Loading takes a fraction of a second from disk and a few seconds from a store.
LOADING_RETRY_AFTER_SECONDS = 2
FIRST_RETRY_SECONDS = 5
LAST_RETRY_SECONDS = 300

logger = logging.getLogger(__name__)


class ModelUnavailableError(Exception):
    """No model can answer now; the text is fit to show to a visitor."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ModelInService:
    """Holds the classifier that answers now.

    With `MODEL_FALLBACK=default` the embedded model answers until the configured one is loaded.
    Without it nobody gets another model's answer: there is none until then.
    """

    def __init__(self, settings: Settings, *, threads: int) -> None:
        self._settings = settings
        self._threads = threads
        self._classifier: Classifier | None = None
        self._retry_at: float | None = None  # monotonic; None while the first attempt runs

    def start(self) -> None:
        """Begin to load. To be called in the process that serves: threads do not survive a fork."""
        threading.Thread(target=self._load, name="model-loader", daemon=True).start()

    @property
    def classifier(self) -> Classifier:
        """The classifier that answers now.

        Raises:
            ModelUnavailableError: the model is still loading, or cannot be loaded.
        """
        if self._classifier is not None:
            return self._classifier
        if self._retry_at is None:
            raise ModelUnavailableError(
                gettext("The model is still loading. Try again in a few seconds."),
                LOADING_RETRY_AFTER_SECONDS,
            )
        seconds = max(round(self._retry_at - time.monotonic()), LOADING_RETRY_AFTER_SECONDS)
        raise ModelUnavailableError(
            gettext("The model cannot be loaded at the moment. Try again later."), seconds
        )

    def _load(self) -> None:
        if self._settings.model_uri and self._settings.model_fallback == "default":
            self._try_to_load(None)
        pause = FIRST_RETRY_SECONDS
        while not self._try_to_load(self._settings.model_uri):
            self._retry_at = time.monotonic() + pause
            time.sleep(pause)
            pause = min(2 * pause, LAST_RETRY_SECONDS)

    def _try_to_load(self, uri: str | None) -> bool:
        started = time.monotonic()
        try:
            bundle = open_bundle(uri, self._settings.model_cache)
            self._classifier = Classifier(bundle, threads=self._threads)
        # Anything at all: this thread is the only one that brings a model, and has to try again.
        except Exception as error:
            logger.exception("Model not loaded from %s: %s", uri or EMBEDDED_BUNDLE, error)
            return False
        milliseconds = (time.monotonic() - started) * 1000
        logger.info("Model %s in service after %.0f ms", bundle.manifest.version, milliseconds)
        return True


def open_bundle(uri: str | None, cache: Path) -> Bundle:
    """Read the embedded bundle (None), or fetch the one that `uri` names.

    Raises:
        StoreError, BundleError: it cannot be had, or is damaged.
    """
    return read_bundle(EMBEDDED_BUNDLE) if uri is None else fetch_bundle(uri, cache)
