"""Clients that hold connections: whatever they do, others and health checks are answered."""

import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from config.paced_socket import CHECK_SECONDS
from config.worker import MAX_CONNECTIONS_OF_ONE
from processing.bundle import Bundle
from tests.app.fixture_types import Processes, StartServer
from tests.forms import ask, encode_form

HOLDERS = 200
SOON = 5.0  # seconds; on an idle machine it takes 0.01, and without a thread of its own over 30
FORM = "multipart/form-data; boundary=edge"
FILE = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE_FILE = b"static/jquery-4.0.0.min.js"


def start_upload(size: int, body: bytes = FILE, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{lines}"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


ATTACKS = {
    "never send": b"",
    "send a part of the head": b"GET / HT",
    "send a part of the body": start_upload(1_000_000),
    "never read": 100 * (GET % LARGE_FILE),
    "never close": b"GET / HTTP/1.0\r\n\r\n",
    "announce a body for a health check": b"GET /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    "never read health checks": 2000 * (GET % b"healthz"),
}

Connect = Callable[..., socket.socket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that connects with a URL's server and sends something, without waiting."""
    with ExitStack() as opened:

        def open_one(url: str, data: bytes = b"") -> socket.socket:
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(40)
            connection.connect((urlsplit(url).hostname, urlsplit(url).port))
            connection.setblocking(False)
            try:
                connection.send(data)
            except OSError:  # refused already
                return connection
            connection.settimeout(40)
            return connection

        yield open_one


def ask_health(url: str, path: str = "healthz") -> tuple[int, float]:
    """Status and seconds."""
    started = time.monotonic()
    try:
        with urllib.request.urlopen(f"{url}/{path}", timeout=20) as answer:
            return answer.status, time.monotonic() - started
    except urllib.error.HTTPError as error:
        with error:
            return error.code, time.monotonic() - started


def read_status(connection: socket.socket) -> int | None:
    """The status of the answer; None if the connection ends without one."""
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return int(answer.split()[1]) if answer else None


@pytest.fixture(scope="module")
def behind_proxy(start_server: StartServer, served: Bundle) -> str:
    """A server to which all connections come from its proxy, and so from one address."""
    return start_server(MODEL_URI=str(served.path), TRUSTED_PROXIES="1", MAX_UPLOAD_MB="1")


@pytest.mark.fault("200 connections are held, in seven ways", "health is told all the same")
@pytest.mark.parametrize("sent", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("where", ["server", "behind_proxy"])
def test_health_is_told_while_others_hold_their_connections(
    where: str, sent: bytes, connect: Connect, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(where)
    for _ in range(HOLDERS):
        connect(url, sent)
    for path in ("healthz", "readyz", "healthz"):
        status, seconds = ask_health(url, path)
        assert status == 200
        assert seconds < SOON


def test_one_address_gets_only_so_many_requests_at_a_time(
    server: str, connect: Connect, photo: bytes
) -> None:
    held = [connect(server, start_upload(1_000_000)) for _ in range(MAX_CONNECTIONS_OF_ONE + 5)]
    assert read_status(held[-1]) == 503
    for connection in held:
        connection.close()


@pytest.mark.fault("an upload stops before its last byte", "408 after 15 s; others are answered")
def test_an_upload_that_stops_is_ended(behind_proxy: str, connect: Connect, photo: bytes) -> None:
    # Two of them would take all the memory for uploads.
    nearly = 999_000
    stuck = []
    for address in ("192.0.2.1", "192.0.2.2"):
        connection = connect(behind_proxy, start_upload(nearly + 1, X_Forwarded_For=address))
        connection.sendall(bytes(nearly - len(FILE)))
        stuck.append(connection)
    started = time.monotonic()
    body, headers = encode_form([photo])
    statuses = []
    while 200 not in statuses and time.monotonic() - started < 30:
        statuses.append(ask(behind_proxy, body, headers | {"X-Forwarded-For": "192.0.2.3"})[0])
        time.sleep(0.5)
    assert statuses[-1] == 200
    assert time.monotonic() - started < CHECK_SECONDS
    assert {read_status(each) for each in stuck} <= {503, 408}


CHUNKED = (
    f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nAccept: application/json\r\n"
    "Connection: close\r\nTransfer-Encoding: chunked\r\n"
).encode()
MARK = b"visitors-own"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BODIES = {
    "no chunks": (CHUNKED + b"\r\n" + MARK, 408),
    "a wrong size": (CHUNKED + b"\r\n%bzz\r\nx\r\n" % MARK, 400),
    "a chunk longer than its size": (CHUNKED + b"\r\n" + b"1\r\n%b\r\n0\r\n\r\n" % MARK, 400),
    "a wrong trailer": (CHUNKED + b"\r\n" + chunk(FILE) + b"0\r\n" + MARK + b"\r\n\r\n", 400),
    "chunks and a length": (CHUNKED + b"Content-Length: 9\r\n\r\n" + chunk(FILE), 400),
    "no form in the chunks": (CHUNKED + b"\r\n" + chunk(MARK) + b"0\r\n\r\n", 400),
    "more than is allowed": (
        CHUNKED + b"\r\n" + chunk(FILE) + chunk(bytes(1_100_000)) + b"0\r\n\r\n",
        413,
    ),
    "long headers": (b"GET / HTTP/1.1\r\nX-A: " + MARK * 2000, 431),
}


@pytest.mark.parametrize(("sent", "status"), BODIES.values(), ids=BODIES)
def test_a_malformed_body_is_the_senders_fault(
    behind_proxy: str, connect: Connect, sent: bytes, status: int
) -> None:
    connection = connect(behind_proxy)
    connection.sendall(sent)
    if status != 431:  # of which the rest is not waited for
        connection.shutdown(socket.SHUT_WR)
    assert read_status(connection) == status


def test_a_photo_in_chunks_is_answered(behind_proxy: str, connect: Connect, photo: bytes) -> None:
    connection = connect(behind_proxy)
    whole = FILE + photo + b"\r\n--edge--\r\n"
    pieces = (whole[i : i + 5000] for i in range(0, len(whole), 5000))
    connection.sendall(CHUNKED + b"\r\n" + b"".join(map(chunk, pieces)) + b"0\r\n\r\n")
    assert read_status(connection) == 200


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process's peak memory, in /proc"
)
@pytest.mark.fault("a form of 19 MB that is not multipart", "415, and no memory for it")
def test_what_is_no_form_takes_no_memory(
    start_server: StartServer, served: Bundle, processes: Processes
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    (worker,) = psutil.Process(processes[url].pid).children()
    before = measure_peak(worker)
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    body = b"a=%41&" * 3_200_000
    assert ask(url, body, kind)[0] == 415
    assert measure_peak(worker) - before < 20_000_000


def measure_peak(process: psutil.Process) -> int:
    """The most memory that it has had, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
