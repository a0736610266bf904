"""A bounded queue in front of the model, and a time limit for each request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask_babel import gettext

from app.metrics import count_places

# Eight requests take under a second with the default model and a few seconds with a large one. A
# ninth is refused at once rather than left to run into the router's limit of 30 s.
PLACES = 8
# Counted from the last byte of the upload; Heroku's router gives up after 30.
ANSWER_SECONDS = 20
RETRY_AFTER_SECONDS = 2
# Decoding or classifying a photo takes a second or two. What decodes is ended after 1.6 s of
# processor time, and after 20 s even if it only waits.
STUCK_SECONDS = 15

_turns: dict[object, float] = {}  # those in progress, and when they began


class BusyError(Exception):
    """All places are taken, or the time is up; the text can be shown to a visitor."""

    retry_after_seconds = RETRY_AFTER_SECONDS

    def __init__(self) -> None:
        super().__init__(
            gettext("Many photos are being analysed right now. Try again in a moment.")
        )


class Queue:
    """Admits `places` requests, including the one being answered, and refuses others at once."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[float]:
        """Hold a place while the request is answered; yield its deadline, monotonic.

        Raises:
            BusyError: no place is free.
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
    """Hold `lock`, after waiting for it until `deadline`, monotonic, at most.

    Raises:
        BusyError: the lock did not become free in time.
    """
    seconds = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
    if seconds <= 0 or not lock.acquire(timeout=seconds):
        raise BusyError
    key = object()
    _turns[key] = time.monotonic()
    try:
        yield
    finally:
        del _turns[key]
        lock.release()


def measure_longest_turn() -> float:
    """Return for how many seconds the longest turn has lasted so far; 0 without one."""
    now = time.monotonic()
    return max((now - began for began in [*_turns.values()]), default=0.0)
