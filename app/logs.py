"""The log, as plain lines or JSON. It contains nothing that a visitor sent."""

import logging
import sys

from flask import g
from pythonjsonlogger.json import JsonFormatter

from config.settings import Settings

_FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"


def start_logging(settings: Settings) -> None:
    """Write the log to standard error, according to `LOG_FORMAT` and `LOG_LEVEL`."""
    if settings.log_format == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(_FIELDS))
        logging.basicConfig(handlers=[handler], force=True)
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Only for our own packages: at DEBUG, others log EXIF tags and signed headers.
    for package in ("app", "processing"):
        logging.getLogger(package).setLevel(settings.log_level)


def log_event(logger: logging.Logger, event: str, **fields: object) -> None:
    """Log an event with the ID of its request; in JSON, each field is a key of its own."""
    fields = {"request": g.request_id, **fields}
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("%s: %s", event, text, extra={"event": event, "fields": fields})
