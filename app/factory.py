"""The app's factory: what `wsgi.py` serves is wired here."""

import os
import sys

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from app import (
    compression,
    errors,
    headers,
    host,
    languages,
    limits,
    metrics,
    page,
    request_id,
    routes,
)
from app.admission import Queue
from app.fair_share import Uploads
from app.forms import FormRequest
from app.logs import PrivateFlask, start_logging
from app.sentry import start_sentry
from app.service import ModelInService
from config.settings import Settings, SettingsError, read_settings
from processing.decoding.decoder import Decoder

# More threads hardly speed up a single image.
_MAX_INFERENCE_THREADS = 4


def create_app(settings: Settings | None = None, decoder: Decoder | None = None) -> Flask:
    """Create the app. Without `settings`, they are read from the environment.

    The model is loaded in a background thread, and photos are decoded in a process of its own,
    unless there is a `decoder` already: call this in the serving process, after any fork.

    Raises:
        SystemExit: an environment variable has a wrong value; the message names it.
    """
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            sys.exit(str(error))
    start_logging(settings)
    start_sentry(settings)
    app = PrivateFlask(__name__)
    app.request_class = FormRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.jinja_env.filters.update(page.FILTERS)
    app.jinja_env.globals.update(page.GLOBALS)
    languages.register(app)
    metrics.register(app, settings)
    request_id.register(app, settings)
    host.register(app)
    app.register_blueprint(routes.blueprint)
    errors.register(app)
    headers.register(app)
    compression.register(app)
    limits.register(app, settings, "main.predict")
    if settings.trusted_proxies:
        proxies = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    if settings.cors_origins:
        CORS(app, origins=settings.cors_origins, expose_headers=[request_id.HEADER, "Retry-After"])
    threads = max(1, min((os.cpu_count() or 1) // settings.web_concurrency, _MAX_INFERENCE_THREADS))
    service = ModelInService(settings, threads=threads)
    app.extensions["model_in_service"] = service
    app.extensions["queue"] = Queue()
    # One: a second would take 20 MB at rest, and let two large photos be decoded at once.
    app.extensions["decoder"] = decoder or Decoder()
    app.extensions["decoder"].start()  # before the model is loaded, while there is little to copy
    # Room for two uploads of the largest size, or for many of the usual size.
    app.extensions["uploads"] = Uploads(2 * settings.max_upload_bytes)
    service.start()
    return app
