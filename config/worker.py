"""gunicorn's threaded worker, safe from senders that never finish, and sparing with memory."""

import ctypes
import socket
import threading
import time
from contextlib import suppress

from gunicorn.workers.gthread import TConn, ThreadWorker

from config.settings import read_settings

# Of glibc's malloc.h, with their values.
_MALLOC_OPTIONS = {
    -3: 1 << 20,  # M_MMAP_THRESHOLD, bytes
    -1: 4 << 20,  # M_TRIM_THRESHOLD, bytes
    -8: 2,  # M_ARENA_MAX, heaps for all threads together
}


class Worker(ThreadWorker):  # type: ignore[misc]
    """Stops listening to a request that is not wholly there after `UPLOAD_SECONDS`.

    gunicorn's own waits for the next byte for ever, and each such sender holds a thread. The answer
    can still be written: a cut upload is told so.
    """

    def init_process(self) -> None:
        """Run until told to stop."""
        _return_memory()
        self._started: dict[TConn, float] = {}  # monotonic, of each request that has a thread
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
                    with suppress(OSError):  # it ended just now
                        conn.sock.shutdown(socket.SHUT_RD)


def _return_memory() -> None:
    """Have malloc hand back what a photo took as soon as it was answered.

    Left alone, glibc learns from the first large buffers that are freed to keep such for later, and
    gives each thread a heap of its own to keep them in.
    """
    with suppress(AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)
