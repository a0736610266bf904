"""The bounded queue before the model, and the time that a request may take."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask_babel import gettext

from app.metrics import count_places

# Eight requests wait under a second for the default model and a few for a large one; a ninth is
# better told at once than left to run into the router's 30 s.
PLACES = 8
# From the last byte of the upload: Heroku's router gives up after 30.
ANSWER_SECONDS = 20
RETRY_AFTER_SECONDS = 2


class BusyError(Exception):
    """All places are taken, or it took too long; the text is fit to show to a visitor."""

    retry_after_seconds = RETRY_AFTER_SECONDS

    def __init__(self) -> None:
        super().__init__(
            gettext("Many photos are being analysed right now. Try again in a moment.")
        )


class Queue:
    """Lets `places` requests in, the one being answered included, and refuses the rest at once."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[float]:
        """Hold a place while the request is answered; gives the deadline for that, monotonic.

        Raises:
            BusyError: none is free.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        count_places(1)
        try:
            yield time.monotonic() + ANSWER_SECONDS
        finally:
            count_places(-1)
            self._places.release()


@contextmanager
def turn(lock: threading.Lock, deadline: float) -> Iterator[None]:
    """Hold `lock`, which others want, too.

    Raises:
        BusyError: it was not to be had before `deadline`, monotonic.
    """
    seconds = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
    if seconds <= 0 or not lock.acquire(timeout=seconds):
        raise BusyError
    try:
        yield
    finally:
        lock.release()
