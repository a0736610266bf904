"""The bounded queue before the model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask_babel import gettext

from app.metrics import count_places

# Eight requests wait under a second for the default model and a few for a large one; a ninth is
# better told at once than left to run into the router's 30 s.
PLACES = 8
RETRY_AFTER_SECONDS = 2


class BusyError(Exception):
    """All places are taken; the text is fit to show to a visitor."""

    retry_after_seconds = RETRY_AFTER_SECONDS


class Queue:
    """Lets `places` requests in, the one being answered included, and refuses the rest at once."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while the request is answered.

        Raises:
            BusyError: none is free.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                gettext("Many photos are being analysed right now. Try again in a moment.")
            )
        count_places(1)
        try:
            yield
        finally:
            count_places(-1)
            self._places.release()
