"""Exceptions as the log may show them: without their texts, which may quote what a visitor sent."""

import logging
import traceback
from types import TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def format_fault(error: BaseException) -> str:
    """List the places and the types of `error` and of its causes, the first cause first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{format_fault(cause)}\nwhich led to\n" if cause else ""
    places = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}{places}{type(error).__name__} (its text is left out)"


class WithoutTexts(logging.Formatter):
    """Adds to a formatter that exceptions are shown by `format_fault`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, whatever another handler has made of its exception."""
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802
        """Format the exception of a record."""
        return format_fault(ei[1]) if ei[1] else ""
