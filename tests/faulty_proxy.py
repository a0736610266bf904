"""A TCP proxy that records the HTTP requests that pass, and damages answers on request."""

import re
import socket
import socketserver
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")

# "lose" passes on nothing at all, "shorten" announces a byte too few, "delay" waits for `go_on`.
Fault = Literal["lose", "cut", "stall", "flip", "slow", "shorten", "delay"]
_LENGTH = re.compile(rb"(?i)(?<=\r\ncontent-length: )\d+")
_SLOW_PIECE, _SLOW_PAUSE = 4096, 0.02  # bytes, seconds


class FaultyProxy(socketserver.ThreadingTCPServer):
    """A proxy in front of the server on `port` of this machine."""

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[tuple[str, str]] = []  # method and path
        self.stalled = threading.Event()
        self.go_on = threading.Event()  # ends a delay
        self.upstream_port = port
        self.open_sockets: set[socket.socket] = set()
        self.closing = threading.Event()
        self._faults: list[tuple[str, str, Fault, int]] = []

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.closing.set()
        for one in list(self.open_sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def spoil(
        self, path_part: str, fault: Fault, *, after: int = 0, times: int = 1, method: str = "GET"
    ) -> None:
        """Damage the next `times` answers for such a path after that many bytes of the body."""
        self._faults += [(method, path_part, fault, after)] * times

    def count(self, method: str, path_part: str) -> int:
        """The number of such requests that passed."""
        return sum(m == method and path_part in path for m, path in self.requests)

    def take_fault(self, method: str, path: str) -> tuple[Fault, int] | None:
        """Return the fault for the answer to a request."""
        self.requests.append((method, path))
        for planned in self._faults:
            if planned[0] == method and planned[1] in path:
                self._faults.remove(planned)
                return planned[2:]
        return None


class _Connection(socketserver.BaseRequestHandler):
    server: FaultyProxy
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.upstream_port)) as upstream:
            self.fault: tuple[Fault, int] | None = None
            self.passed: int | None = None  # bytes of the body; None while in the header
            both = {self.request, upstream}
            self.server.open_sockets |= both
            sender = threading.Thread(target=self._pass_requests, args=(upstream,), daemon=True)
            sender.start()
            with suppress(OSError):
                self._pass_answers(upstream)
            for one in both:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            sender.join()
            self.server.open_sockets -= both

    def _pass_requests(self, upstream: socket.socket) -> None:
        with suppress(OSError):
            while chunk := self.request.recv(65536):
                match = _REQUEST.match(chunk)
                if match:
                    method, path = match[1].decode(), match[2].decode()
                    self.fault, self.passed = self.server.take_fault(method, path), None
                upstream.sendall(chunk)
            upstream.shutdown(socket.SHUT_WR)

    def _pass_answers(self, upstream: socket.socket) -> None:
        while chunk := upstream.recv(65536):
            if chunk.startswith(b"HTTP/1.1 100 Continue"):
                self.request.sendall(chunk)
                continue
            start = 0
            if self.passed is None:  # a header comes in one piece here
                start, self.passed = chunk.index(b"\r\n\r\n") + 4, 0
            before, self.passed = self.passed, self.passed + len(chunk) - start
            fault, after = self.fault or (None, 0)
            if fault == "lose":
                return
            if fault == "shorten" and start:
                chunk = _LENGTH.sub(lambda match: b"%d" % (int(match[0]) - 1), chunk)
            elif fault and self.passed > after:
                at = start + after - before if before < after else start
                self.request.sendall(chunk[:at])
                chunk = chunk[at:]
                if fault in ("cut", "stall"):
                    self._wait(fault)
                    return
                chunk = self._spoil(fault, chunk)
            self.request.sendall(chunk)

    def _wait(self, fault: Fault) -> None:
        self.server.stalled.set()
        if fault == "stall":
            self.server.closing.wait()
        elif fault == "delay":
            self.server.go_on.wait()

    def _spoil(self, fault: Fault, chunk: bytes) -> bytes:
        """Pass on the first part of a chunk as the fault demands, and return the rest."""
        if fault == "slow":
            while chunk:
                self.request.sendall(chunk[:_SLOW_PIECE])
                chunk = chunk[_SLOW_PIECE:]
                time.sleep(_SLOW_PAUSE)
            return b""
        self.fault = None
        if fault == "delay":
            self._wait(fault)
            return chunk
        return bytes([chunk[0] ^ 1]) + chunk[1:]
