"""How the uploads that arrive at the same time share places and memory."""

import threading
import time
from collections.abc import Callable

from app.admission import BusyError
from config.addresses import name_sender

# Each has a thread, and others remain for everything else (gunicorn.conf.py). Several people behind
# one address send at the same time, each of them a photo after the other.
PLACES, PLACES_OF_ONE = 48, 24
# An upload that has taken longer ends when others need its place or its memory.
SLOW_SECONDS = 10


class UploadsFullError(BusyError):
    """Other uploads use all the places or the memory for uploads, or their sender's share."""


class Upload:
    """An upload, from its first byte to the answer."""

    def __init__(self, uploads: "Uploads", sender: str, end: Callable[[], object]) -> None:
        self.sender = sender
        self.end = end
        self.started = time.monotonic()
        self.taken = 0  # bytes
        self.ended = False  # because others need its room
        self._uploads = uploads

    def take(self, size: int) -> None:
        """Reserve `size` more bytes.

        Raises:
            UploadsFullError: there is not enough left.
        """
        self._uploads.take(self, size)

    def arrive(self) -> None:
        """Give back the place, and keep the memory until the answer."""
        self._uploads.remove(self)

    def close(self) -> None:
        """Give back everything."""
        self._uploads.release(self)


class Uploads:
    """Limits for all uploads of one process together: a small host has 512 MB in total."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes
        self._taken = 0
        self._arriving: dict[Upload, None] = {}  # the oldest first
        self._lock = threading.Lock()

    def begin(self, address: str, end: Callable[[], object]) -> Upload:
        """Give an upload from `address` a place; `end()` has to stop reading it.

        Raises:
            UploadsFullError: there is none, for all or for this address.
        """
        upload = Upload(self, name_sender(address), end)
        with self._lock:
            of_one = sum(each.sender == upload.sender for each in self._arriving)
            if of_one >= PLACES_OF_ONE:
                raise UploadsFullError
            if len(self._arriving) >= PLACES:
                self._end_slowest()
                raise UploadsFullError
            self._arriving[upload] = None
        return upload

    def take(self, upload: Upload, size: int) -> None:
        """Reserve bytes; see `Upload.take`."""
        with self._lock:
            # What has arrived is answered soon; only the others could be held for long.
            of_one = sum(each.taken for each in self._arriving if each.sender == upload.sender)
            if of_one + size > self._limit / 2:
                raise UploadsFullError
            if self._taken + size > self._limit:
                self._end_slowest()
                raise UploadsFullError
            self._taken += size
            upload.taken += size

    def remove(self, upload: Upload) -> None:
        """Give back the place; see `Upload.arrive`."""
        with self._lock:
            self._arriving.pop(upload, None)

    def release(self, upload: Upload) -> None:
        """Give back place and memory; see `Upload.close`."""
        with self._lock:
            self._arriving.pop(upload, None)
            self._taken -= upload.taken
            upload.taken = 0

    def _end_slowest(self) -> None:
        """Make room for the next attempt."""
        for upload in self._arriving:
            if not upload.ended and time.monotonic() - upload.started > SLOW_SECONDS:
                upload.ended = True
                upload.end()
                return
