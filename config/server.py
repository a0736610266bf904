"""gunicorn's log and its own answers, without a byte of what a visitor sent."""

import logging
from contextlib import suppress
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)

from config.faults import WithoutTexts
from config.refusals import build_refusal

_OURS = (InvalidResponseHeader, InvalidResponseHeaderName)
_STATUSES: dict[type[Exception], tuple[int, str]] = {
    LimitRequestLine: (414, "URI Too Long"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    ExpectationFailed: (417, "Expectation Failed"),
}


class Logger(GunicornLogger):  # type: ignore[misc]
    """gunicorn's log without requests, which Heroku has it write, and without texts of faults."""

    def setup(self, cfg: Config) -> None:
        """Open the log."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(WithoutTexts(self.error_fmt, self.datefmt))

    def access(self, *_: Any) -> None:
        """Log no request: its line has the address, the path and headers."""

    def debug(self, *_: Any, **__: Any) -> None:
        """Log nothing: at this level gunicorn quotes requests."""


class PrivateAnswers:
    """Adds to a worker that what gunicorn itself refuses is neither logged nor sent back."""

    log: logging.Logger

    def handle_error(self, _request: object, client: Any, _address: object, exc: Exception) -> None:
        """Answer a request that cannot be parsed, or a fault outside of the app."""
        if isinstance(exc, ParseException) and not isinstance(exc, _OURS):
            found = (status for kind, status in _STATUSES.items() if isinstance(exc, kind))
            status, phrase = next(found, (400, "Bad Request"))
            detail = "The request is not valid HTTP. Correct the program that sent it."
            self.log.info("A request was refused: %s", type(exc).__name__)
        else:
            status, phrase = 500, "Internal Server Error"
            detail = "Something went wrong on our side. Try again later."
            self.log.error("A fault outside of the app", exc_info=exc)
        with suppress(OSError):  # the sender is gone
            util.write_nonblock(client, build_refusal(status, phrase, detail))
