"""gunicorn's threaded worker, with a time limit for uploads and a low use of memory."""

import ctypes
import socket
import threading
import time
from contextlib import suppress

from gunicorn.workers.gthread import TConn, ThreadWorker

from config.server import PrivateAnswers
from config.settings import read_settings

# Parameters of glibc's mallopt (malloc.h) and the values they get.
_MALLOC_OPTIONS = {
    -3: 1 << 20,  # M_MMAP_THRESHOLD, bytes
    -1: 4 << 20,  # M_TRIM_THRESHOLD, bytes
    -8: 2,  # M_ARENA_MAX, heaps for all threads together
}


class Worker(PrivateAnswers, ThreadWorker):  # type: ignore[misc]
    """Stops reading a request that has not arrived completely after `UPLOAD_SECONDS`.

    gunicorn's own worker waits for the next byte forever, and each such sender holds a thread. Only
    the reading side of the connection is closed, so that the sender still gets the error.
    """

    def init_process(self) -> None:
        """Start the watch over slow requests, then serve until stopped."""
        _return_memory()
        self._started: dict[TConn, float] = {}  # when each request in a thread began, monotonic
        threading.Thread(target=self._end_slow_requests, name="slow-requests", daemon=True).start()
        super().init_process()

    def handle(self, conn: TConn) -> object:
        """Read and answer one request."""
        self._started[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            del self._started[conn]

    def _end_slow_requests(self) -> None:
        limit = read_settings().upload_seconds
        while True:
            time.sleep(1)
            for conn, started in self._started.copy().items():
                if time.monotonic() - started > limit:
                    with suppress(OSError):  # it was closed just now
                        conn.sock.shutdown(socket.SHUT_RD)


def _return_memory() -> None:
    """Have malloc return a photo's memory to the system as soon as the photo is answered.

    By default, glibc begins to keep large buffers for later use once some have been freed, and
    gives each thread its own heap to keep them in.
    """
    with suppress(AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)
