"""A connection that notices a peer which does not send or read at a useful speed."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# On average over as many seconds. Phones on GPRS are faster, also with a pause of ten seconds.
MIN_BYTES_PER_SECOND, CHECK_SECONDS = 2000, 15
# So that progress shows while an answer is sent.
_PIECE_BYTES = 1 << 14


class PacedSocket(socket.socket):
    """Counts what the peer sends and reads, so that another thread can end a slow request.

    The thread that answers a request waits for the peer without a limit. The one that watches calls
    `end_if_slow` regularly, and the waiting ends.
    """

    ended = False  # by `end_reading` or `end`
    _may_wait = True
    _moved = 0  # bytes of this request, in both directions
    _waits_for: int | None = None  # SHUT_RD: for bytes; SHUT_WR: for room
    _checked: tuple[float, int] | None = None  # when, and the bytes moved until then

    def begin(self, seconds: float, *, may_wait: bool = True) -> None:
        """Begin a request that has to arrive within `seconds`.

        Args:
            may_wait: False: if the peer has no room for an answer, the connection ends.
        """
        self._arrival = time.monotonic() + seconds
        self._may_wait = may_wait
        self._moved = 0
        self._checked = None

    def arrive_by(self, deadline: float) -> None:
        """Have the request arrive by `deadline`, monotonic, or sooner."""
        self._arrival = min(self._arrival, deadline)

    def end_if_slow(self, now: float, seconds: float = CHECK_SECONDS) -> None:
        """End what the peer is too slow for: over the last `seconds`, or for the whole request."""
        waits_for, moved = self._waits_for, self._moved
        if waits_for is None:
            self._checked = None
            return
        if self._checked is None:
            self._checked = (now, moved)
        since, before = self._checked
        slow = False
        if now - since >= seconds:
            slow = moved - before < MIN_BYTES_PER_SECOND * (now - since)
            self._checked = (now, moved)
        if waits_for == socket.SHUT_RD and (slow or now > self._arrival):
            self.end_reading()
        elif waits_for == socket.SHUT_WR and slow:
            self.end()

    def end_reading(self) -> None:
        """Let the request end here, as if the peer had gone; it can still be answered."""
        self.ended = True
        with suppress(OSError):  # it is closed
            self.shutdown(socket.SHUT_RD)

    def end(self) -> None:
        """End the connection in both directions."""
        self.ended = True
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive as usual; nothing once the request was ended."""
        if self.ended:  # what arrives afterwards could still be read
            return b""
        with self._waiting(socket.SHUT_RD):
            data = super().recv(bufsize, flags)
        self._moved += len(data)
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send in pieces.

        Raises:
            BrokenPipeError: the peer is gone, or the connection was ended.
        """
        if not self._may_wait:
            self.setblocking(False)
        rest = memoryview(data)
        with self._waiting(socket.SHUT_WR):
            while rest:
                try:
                    super().sendall(rest[:_PIECE_BYTES], flags)
                except BlockingIOError as error:
                    raise BrokenPipeError(errno.EPIPE, "the peer does not read") from error
                self._moved += len(rest[:_PIECE_BYTES])
                rest = rest[_PIECE_BYTES:]

    @contextmanager
    def _waiting(self, direction: int) -> Iterator[None]:
        self._waits_for = direction
        try:
            yield
        finally:
            self._waits_for = None
