"""The log: lines for people, or JSON for machines. Nothing that a visitor sent is in it."""

import logging
import sys

from flask import g
from pythonjsonlogger.json import JsonFormatter

from config.settings import Settings

_FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"


def start_logging(settings: Settings) -> None:
    """Write the log to standard error, as `LOG_FORMAT` and `LOG_LEVEL` say."""
    if settings.log_format == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(_FIELDS))
        logging.basicConfig(handlers=[handler], force=True)
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Only our own: at DEBUG others log EXIF tags and signed headers.
    for package in ("app", "processing"):
        logging.getLogger(package).setLevel(settings.log_level)


def log_event(logger: logging.Logger, event: str, **fields: object) -> None:
    """Log what happened in a request, with its name: each field on its own where it is JSON."""
    fields = {"request": g.request_id, **fields}
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("%s: %s", event, text, extra={"event": event, "fields": fields})
