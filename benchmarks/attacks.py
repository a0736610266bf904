"""What careless or hostile clients cost the others: `python -m benchmarks.attacks`.

For each attack it starts the app anew and prints, while the attack goes on, how long a health check
and a visitor's photo from another address take; how much memory the worker took above rest; and
how long the app takes to stop afterwards. What takes longer than 30 s counts as never.
"""

import http.client
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil

from benchmarks.server import Server, draw_jpeg, pack_form, serve
from benchmarks.tool import Report, benchmark

NEVER_SECONDS = 30
FILE = b'--e\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
_GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


def start_upload(length: int, kind: bytes = b"multipart/form-data; boundary=e") -> bytes:
    """Make the head of an upload."""
    return (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        % (*(kind, length),)
    )


_LARGE = 20_000_000
_URLENCODED = start_upload(_LARGE, b"application/x-www-form-urlencoded")
ATTACKS: dict[str, tuple[int, bytes]] = {  # how many connections, and what each sends
    "200 connections send half a head": (200, b"GET / HT"),
    "200 clients never read a large file": (200, 100 * (_GET % b"static/jquery-4.0.0.min.js")),
    "40 clients never close after their answer": (40, b"GET / HTTP/1.0\r\n\r\n"),
    "200 uploads stop within the body": (200, start_upload(1_000_000) + FILE),
    "2 uploads of 20 MB stop one byte short": (
        *(2, start_upload(_LARGE) + FILE + bytes(_LARGE - len(FILE) - 1)),
    ),
    "2 forms of 20 MB that are not multipart": (2, _URLENCODED + b"a=%41&&&" * (_LARGE // 8)),
    "a multipart field of 20 MB": (
        1,
        start_upload(_LARGE)
        + b'--e\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        + bytes(_LARGE),
    ),
}


def hold(server: Server, count: int, sent: bytes) -> Iterator[socket.socket]:
    """Open connections and send on each, without reading what is answered."""
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        with suppress(OSError):  # refused, or not read
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(sent)
        yield connection


def ask_elsewhere(server: Server, *request: object) -> tuple[float, str]:
    """Return seconds and status of a request from an address of its own."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(
        *("127.0.0.1", server.port), timeout=NEVER_SECONDS, source_address=("127.0.0.2", 0)
    )
    with closing(connection):
        try:
            connection.request(*request)  # type: ignore[arg-type]
            status = str(connection.getresponse().status)
        except OSError:
            status = "never answered"
    return time.monotonic() - started, f"s, {status}"


def measure_peak(process: psutil.Process) -> float:
    """Return the most memory that a process has had, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


@benchmark(*ATTACKS, libraries=("flask", "gunicorn"))
def main(report: Report, parts: list[str]) -> None:
    """Print what each attack costs."""
    form = pack_form(draw_jpeg(1024, 1024))
    for name in parts:
        count, sent = ATTACKS[name]
        with ExitStack() as held, serve("wsgi:app") as server:
            (worker,) = psutil.Process(server.process.pid).children()
            ask_elsewhere(server, "POST", "/predict", *form)
            rest = measure_peak(worker)
            for connection in hold(server, count, sent):
                held.enter_context(connection)
            time.sleep(3)  # until buffers and threads are full
            health = ask_elsewhere(server, "GET", "/healthz")
            photo = ask_elsewhere(server, "POST", "/predict", *form)
            taken = measure_peak(worker) - rest
            asked = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)
            stop = time.monotonic() - asked
        report.begin(name)
        report.add("health check", *health)
        report.add("a photo of someone else", *photo)
        report.add("memory above rest", taken, "MB")
        report.add("stop", stop, "s")


if __name__ == "__main__":
    main()
