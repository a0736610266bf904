"""gunicorn's threaded worker, safe from senders that never finish, and sparing with memory."""

import ctypes
import socket
import threading
import time
from contextlib import suppress

from gunicorn.workers.gthread import TConn, ThreadWorker

from config.settings import read_settings

_M_ARENA_MAX = -8  # of glibc's malloc.h
_HEAPS = 2


class Worker(ThreadWorker):  # type: ignore[misc]
    """Stops listening to a request that is not wholly there after `UPLOAD_SECONDS`.

    gunicorn's own waits for the next byte for ever, and each such sender holds a thread. The answer
    can still be written: a cut upload is told so.
    """

    def init_process(self) -> None:
        """Run until told to stop."""
        _share_heaps()
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


def _share_heaps() -> None:
    """Have all threads allocate from few heaps.

    glibc gives each a heap of its own, which keeps what the decoders free: 75 MB more under load.
    """
    with suppress(AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
