"""gunicorn's threaded worker, in which no client can keep the others waiting.

A connection gets a thread only once the head of its request has arrived. A client that then sends
or reads too slowly is ended, and health checks have a thread of their own.
"""

import re
import sys
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from config.addresses import name_sender
from config.memory import return_memory
from config.paced_socket import PacedSocket
from config.refusals import BUSY, HEAD_TOO_LARGE, HEAD_TOO_SLOW
from config.server import PrivateAnswers
from config.settings import read_settings

HEAD_SECONDS = 10
HEAD_BYTES = 1 << 14
# Idle ones are closed to make room for new ones. Below the usual limit of 1,024 open files.
MAX_CONNECTIONS = 600
# With a thread or waiting for one. What is more is refused.
MAX_REQUESTS = 300
# Without a proxy, and fewer than there are threads: a browser opens up to six.
MAX_CONNECTIONS_OF_ONE = 48
# After SIGTERM: until slow clients are ended, until a request has to have arrived, and until
# everything ends. gunicorn kills the worker after 25 s.
STOP_SLOW_SECONDS, STOP_ARRIVAL_SECONDS, STOP_SECONDS = 4, 12, 22
_STOP_IDLE_SECONDS = 2  # after SIGTERM, for a request that is on its way
_LINGER_SECONDS = 5  # for a client to read why it was refused, while it is still sending
_LOOK_SECONDS = 0.5

_END_OF_HEAD = re.compile(rb"\n\r?\n")
# A health check alone: without a body, whose arrival could be waited for, or further requests.
_PROBE = re.compile(
    rb"(GET|HEAD) /(healthz|readyz)[? ](?!.*\n(content-length|transfer-encoding))"
    rb"((?!\r\n\r\n).)*\r\n\r\n",
    re.DOTALL | re.IGNORECASE,
)


class Worker(PrivateAnswers, ThreadWorker):  # type: ignore[misc]
    """Reads the head of each request in the main loop, and watches the requests in threads."""

    def init_process(self) -> None:
        """Serve until stopped."""
        if self.cfg.is_ssl:
            sys.exit("TLS is the task of a proxy in front: remove certfile and keyfile.")
        return_memory()
        settings = read_settings()
        self._upload_seconds = settings.upload_seconds
        self._head_seconds = min(HEAD_SECONDS, settings.upload_seconds)
        self._of_one = MAX_CONNECTIONS if settings.trusted_proxies else MAX_CONNECTIONS_OF_ONE
        self._probes = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._open: Counter[str] = Counter()  # connections of each sender
        self._waiting: dict[TConn, float] = {}  # for a head, the oldest first, and until when
        self._leaving: dict[TConn, float] = {}  # answered; until the client closes, or until when
        self._busy: set[TConn] = set()  # with a thread, or waiting for one
        self._next_look = 0.0
        self._stopped: float | None = None
        super().init_process()

    # gunicorn's loop calls these methods.

    def accept(self, listener: socket) -> None:
        """Accept a connection, and wait for the head of its first request."""
        try:
            accepted, client = listener.accept()
        except OSError:  # another worker has it, it is gone, or there are too many open files
            return
        paced = PacedSocket(fileno=accepted.detach())
        conn = TConn(self.cfg, paced, client, listener.getsockname())
        conn.init()
        self.nr_conns += 1
        sender = _name(conn)
        self._open[sender] += 1
        if self._open[sender] > self._of_one:
            self._end_one([each for each in self._waiting if _name(each) == sender])
        elif self.nr_conns > MAX_CONNECTIONS and self._leaving:
            self._close(next(iter(self._leaving)))
        elif self.nr_conns > MAX_CONNECTIONS:
            self._end_one([*self._waiting])
        self._wait_for_head(conn, self._head_seconds)
        self._read_head(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread answer the request whose head has arrived."""
        probe = bool(_PROBE.fullmatch(conn.parser.unreader.buf.getvalue()))
        too_many = len(self._busy) >= MAX_REQUESTS or self._open[_name(conn)] > self._of_one
        if too_many and not probe:
            self._refuse(conn, BUSY)
            return
        conn.sock.begin(self._upload_seconds, may_wait=not probe)
        self._busy.add(conn)
        future = (self._probes if probe else self.tpool).submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def finish_request(self, conn: TConn, future: "Future[object]") -> None:
        """Wait for the next request, or close the connection."""
        self._busy.discard(conn)
        faulty = future.cancelled() or future.exception()
        if not faulty and future.result() and not conn.sock.ended:
            self._wait_for_head(conn, self.cfg.keepalive)
            self._take_head(conn)  # a client may send several at once
        else:
            self._leave(conn)

    def murder_pending(self) -> None:
        """End what takes too long; called at least every second."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for conn, deadline in [*self._waiting.items()]:
            if now > deadline:
                self._end_waiting(conn)
        for conn, deadline in [*self._leaving.items()]:
            if now > deadline:
                self._close(conn)
        for conn in self._busy:
            if self._stopped is None:
                conn.sock.end_if_slow(now)
            elif now < self._stopped + STOP_SECONDS:
                conn.sock.end_if_slow(now, STOP_SLOW_SECONDS)
            else:
                conn.sock.end()

    def _cap_keepalive(self, deadline: float) -> None:
        """Stop: wait for no request beyond `deadline`."""
        self._stopped = time.monotonic()
        for conns in (self._waiting, self._leaving):
            for conn in conns:
                conns[conn] = min(conns[conn], deadline)
        for conn in self._busy:
            conn.sock.arrive_by(self._stopped + STOP_ARRIVAL_SECONDS)

    def handle_request(self, req: Any, conn: TConn) -> object:
        """Answer a request."""
        req.body.reader = _Body(req.body.reader)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: TConn, keepalive: object) -> bool:
        """Read what the app has left of the body; tell whether the next request can follow."""
        try:
            return not conn.sock.ended and super()._keepalive_after(conn, keepalive)
        except ValueError:
            return False

    # A connection is in one of `_waiting`, `_busy` and `_leaving`, until it is closed.

    def _wait_for_head(self, conn: TConn, seconds: float) -> None:
        if self._stopped is not None:
            seconds = min(seconds, _STOP_IDLE_SECONDS)
        conn.sock.setblocking(False)
        self._waiting[conn] = time.monotonic() + seconds
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_head, conn))

    def _read_head(self, conn: TConn, _: object = None) -> None:
        if conn not in self._waiting:  # it was closed since the poller saw it
            return
        try:
            data = conn.sock.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stop_waiting(conn)
            self._close(conn)
            return
        buffer = conn.parser.unreader.buf
        buffer.seek(0, 2)
        if buffer.tell() == 0:  # the first bytes
            deadline = time.monotonic() + self._head_seconds
            self._waiting[conn] = min(deadline, self._waiting[conn])
        buffer.write(data)
        self._take_head(conn)

    def _take_head(self, conn: TConn) -> None:
        """Begin the request if its head is there."""
        head = conn.parser.unreader.buf.getvalue()
        if _END_OF_HEAD.search(head):
            self._stop_waiting(conn)
            self.enqueue_req(conn)
        elif len(head) > HEAD_BYTES:
            self._stop_waiting(conn)
            self._refuse(conn, HEAD_TOO_LARGE)

    def _stop_waiting(self, conn: TConn) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _end_waiting(self, conn: TConn) -> None:
        self._stop_waiting(conn)
        if conn.parser.unreader.buf.getvalue():
            self._refuse(conn, HEAD_TOO_SLOW)
        else:
            self._close(conn)

    def _end_one(self, waiting: list[TConn]) -> None:
        """End the oldest connection, of the idle ones if there are any."""
        if idle := [conn for conn in waiting if conn.parser.req_count]:
            self._stop_waiting(idle[0])
            self._close(idle[0])
        elif waiting:
            self._stop_waiting(waiting[0])
            self._refuse(waiting[0], BUSY)

    def _refuse(self, conn: TConn, answer: bytes) -> None:
        conn.sock.setblocking(False)
        with suppress(OSError):
            conn.sock.send(answer)  # there is room for it, but for a client that does not read
        self._leave(conn)

    def _leave(self, conn: TConn) -> None:
        """Close after the client did, since otherwise it might not see the end of its answer."""
        conn.sock.setblocking(False)
        try:
            conn.sock.shutdown(SHUT_WR)
        except OSError:  # the client is gone
            self._close(conn)
            return
        self._forget(conn)
        seconds = _LINGER_SECONDS if self._stopped is None else _STOP_IDLE_SECONDS
        self._leaving[conn] = time.monotonic() + seconds
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_rest, conn))

    def _read_rest(self, conn: TConn, _: object) -> None:
        if conn not in self._leaving:
            return
        try:
            over = not conn.sock.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self._close(conn)

    def _close(self, conn: TConn) -> None:
        if self._leaving.pop(conn, None) is None:
            self._forget(conn)
        else:
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _forget(self, conn: TConn) -> None:
        """Give its sender room for another connection."""
        sender = _name(conn)
        self._open[sender] -= 1
        if not self._open[sender]:
            del self._open[sender]


class _Body:
    """Raises ValueError for a malformed body: other errors are gunicorn's own."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except ParseException as error:
            raise ValueError("malformed chunks") from error
        return data


def _name(conn: TConn) -> str:
    return name_sender(conn.client[0]) if isinstance(conn.client, tuple) else ""
