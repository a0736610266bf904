"""The log, as plain lines or JSON. It contains nothing that a visitor sent."""

import logging
import sys
from types import TracebackType

from flask import Flask, g, request
from pythonjsonlogger.json import JsonFormatter

from config.faults import WithoutTexts
from config.settings import Settings

logger = logging.getLogger(__name__)


class _Json(WithoutTexts, JsonFormatter):
    pass


def start_logging(settings: Settings) -> None:
    """Write the log to standard error, according to `LOG_FORMAT` and `LOG_LEVEL`."""
    fields = "%(asctime)s %(levelname)s %(name)s"
    as_json = settings.log_format == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Json(f"{fields} %(message)s") if as_json else WithoutTexts(f"{fields}: %(message)s")
    )
    logging.basicConfig(handlers=[handler], force=as_json)
    # Only for our own packages: at DEBUG, others log EXIF tags and signed headers.
    for package in ("app", "processing"):
        logging.getLogger(package).setLevel(settings.log_level)


def log_event(logger: logging.Logger, event: str, **fields: object) -> None:
    """Log an event with the ID of its request; in JSON, each field is a key of its own."""
    fields = {"request": g.request_id, **fields}
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("%s: %s", event, text, extra={"event": event, "fields": fields})


class PrivateFlask(Flask):
    """Flask, which by itself logs the path of a request that failed."""

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> None:
        """Log a fault of ours with the ID of its request."""
        logger.error(
            "fault: request=%s at=%s", g.get("request_id"), request.endpoint, exc_info=exc_info
        )
