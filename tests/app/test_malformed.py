"""Requests that gunicorn's parser or ours refuses: none is a fault, and no byte of them is kept."""

import urllib.request
from pathlib import Path

import pytest

from processing.bundle import Bundle
from tests.app.fixture_types import Logs, Processes, StartServer
from tests.app.raw_http import exchange, statuses

S = "SENTINEL5e9d"  # stands for whatever a visitor sends
TOKEN = "a-token-of-some-length"
HEAD = f"POST /predict HTTP/1.1\r\nHost: x\r\nAccept: {S}\r\n"
FORM = f"Content-Type: multipart/form-data; boundary={S}\r\n"
CHUNKED = f"{HEAD}{FORM}Transfer-Encoding: chunked\r\n\r\n"


def with_header(lines: str) -> str:
    return f"GET /{S} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"


def with_form(body: str, head: str = FORM) -> str:
    return f"{HEAD}{head}Content-Length: {len(body.encode('latin1'))}\r\n\r\n{body}"


REQUESTS = {
    "no request": f"{S}\r\n\r\n",
    "no version": f"GET /{S}\r\n\r\n",
    "unknown version": f"GET /{S} HTTP/9.9\r\n\r\n",
    "no version number": f"GET /{S} HTTP/{S}\r\n\r\n",
    "small letters": f"get /{S} HTTP/1.1\r\n\r\n",
    "odd method": f"{S} / HTTP/1.1\r\nHost: x\r\n\r\n",
    "long method": f"{S * 9} / HTTP/1.1\r\nHost: x\r\n\r\n",
    "method with a brace": f"{{{S} / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces": f"GET  /{S} HTTP/1.1\r\nHost: x\r\n\r\n",
    "long line": f"GET /{S * 900} HTTP/1.1\r\nHost: x\r\n\r\n",
    "zero byte in the path": f"GET /{S}\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "line feeds alone": f"GET /{S} HTTP/1.1\nHost: x\n\n",
    "whole address": f"GET http://{S}/{S} HTTP/1.1\r\nHost: x\r\n\r\n",
    "broken address": f"GET http://[{S} HTTP/1.1\r\nHost: x\r\n\r\n",
    "path without a slash": f"GET {S} HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{S}",
    "TLS": f"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03{S}\r\n\r\n",
    "PROXY line": f"PROXY TCP4 {S} {S} 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "query": f"GET /?{S}={S}&lang={S} HTTP/1.1\r\nHost: x\r\n\r\n",
    "missing file": f"GET /static/{S} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    "line without a colon": with_header(S),
    "space before the colon": with_header(f"{S} : {S}"),
    "folded header": with_header(f"X-A: a\r\n {S}"),
    "odd name": with_header(f"X({S}): a"),
    "name with an underscore": with_header(f"X_{S}: a"),
    "zero byte in a value": with_header(f"X-A: {S}\0"),
    "carriage return in a value": with_header(f"X-A: {S}\rX-B: a"),
    "long header": with_header(f"X-A: {S * 900}"),
    "many headers": with_header("\r\n".join(f"X-{S}-{i}: {S}" for i in range(200))),
    "no length": with_header(f"Content-Length: {S}"),
    "negative length": with_header("Content-Length: -1"),
    "two lengths": with_header(f"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{S}"),
    "length and chunks": with_header("Content-Length: 1\r\nTransfer-Encoding: chunked"),
    "unknown coding": with_header(f"Transfer-Encoding: {S}"),
    "two codings": with_header("Transfer-Encoding: gzip, chunked"),
    "chunked twice": with_header("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "unknown expectation": with_header(f"Expect: {S}"),
    "contradictory schemes": with_header("X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off"),
    "host with a path": with_header(f"Host: {S}/../{S}"),
    "no Punycode": f"GET / HTTP/1.1\r\nHost: xn--{S}\r\n\r\n",
    "long host": f"GET / HTTP/1.1\r\nHost: {S * 6}\r\n\r\n",
    "upgrade": with_header(
        f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {S}"
    ),
    "own headers": with_header(
        f"User-Agent: {S}\r\nReferer: {S}\r\nX-Request-ID: {S}\r\nCookie: {S}={S}\r\n"
        f"Authorization: Bearer {S}\r\nAccept-Language: {S}\r\nX-Forwarded-For: {S}\r\n"
        f"baggage: sentry-release={S}\r\nOrigin: https://{S}"
    ),
    "chunked without chunks": f"{CHUNKED}{S}\r\n{S}",
    "no chunk at all": CHUNKED,
    "chunk cut short": f"{CHUNKED}ff\r\n{S}",
    "chunk without an end": f"{CHUNKED}1\r\n{S}\r\n0\r\n\r\n",
    "negative chunk": f"{CHUNKED}-1\r\n{S}\r\n",
    "endless chunk size": f"{CHUNKED}{'f' * 400}\r\n{S}\r\n",
    "odd chunk extension": f"{CHUNKED}1;{S}\r{S}\r\na\r\n0\r\n\r\n",
    "odd trailer": f"{CHUNKED}1\r\na\r\n0\r\n{S}\r\n\r\n",
    "trailer with a zero byte": f"{CHUNKED}1\r\na\r\n0\r\nX-A: {S}\0\r\n\r\n",
    "long trailer": f"{CHUNKED}1\r\na\r\n0\r\nX-A: {S * 9000}\r\n\r\n",
    "chunks for a page": CHUNKED.replace("POST /predict", "GET /") + S,
    "length cut short": f"{HEAD}{FORM}Content-Length: 100\r\n\r\n--{S}\r\n{S}",
    "no boundary": with_form(S, "Content-Type: multipart/form-data\r\n"),
    "long boundary": with_form(S, f"Content-Type: multipart/form-data; boundary={S * 90}\r\n"),
    "another charset": with_form(
        S, f"Content-Type: multipart/form-data; charset={S}; boundary=x\r\n"
    ),
    "a form without files": with_form(
        f"image={S}", "Content-Type: application/x-www-form-urlencoded\r\n"
    ),
    "a type of its own": with_form(S, f"Content-Type: {S}/{S}\r\n"),
    "an open form": with_form(f'--{S}\r\nContent-Disposition: form-data; name="image"\r\n\r\n{S}'),
    "odd disposition": with_form(f"--{S}\r\nContent-Disposition: {S}\r\n\r\n{S}\r\n--{S}--\r\n"),
    "part without a colon": with_form(f"--{S}\r\n{S}\r\n\r\n{S}\r\n--{S}--\r\n"),
    "part without a name": with_form(
        f'--{S}\r\nContent-Disposition: form-data; filename="{S}"\r\n\r\n{S}\r\n--{S}--\r\n'
    ),
    "name in another charset": with_form(
        f"--{S}\r\nContent-Disposition: form-data; name=image; filename*={S}''%ff{S}\r\n\r\n"
        f"{S}\r\n--{S}--\r\n"
    ),
    "photo that is none": with_form(
        f'--{S}\r\nContent-Disposition: form-data; name="image"; filename="{S}"\r\n'
        f"Content-Type: {S}\r\nContent-Transfer-Encoding: {S}\r\n\r\n{S}\r\n--{S}--\r\n"
    ),
    "odd field": with_form(
        f'--{S}\r\nContent-Disposition: form-data; name="stability"\r\n\r\n{S}\r\n--{S}--\r\n'
    ),
    "other field": with_form(
        f'--{S}\r\nContent-Disposition: form-data; name="{S}"; filename="a"\r\n\r\n{S}'
        f"\r\n--{S}--\r\n"
    ),
}  # fmt: skip


def read_metrics(url: str) -> str:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request) as answer:
        content: bytes = answer.read()
        return content.decode()


@pytest.fixture(scope="module")
def talkative(start_server: StartServer, served: Bundle) -> str:
    """A server that logs as much as it can, as Heroku has it do, and all of it as an error."""
    return start_server(
        MODEL_URI=str(served.path),
        METRICS_TOKEN=TOKEN,
        LOG_LEVEL="DEBUG",
        GUNICORN_CMD_ARGS="--access-logfile - --log-level debug",
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_is_refused_and_not_written_down(
    talkative: str, logs: Logs, name: str
) -> None:
    received = exchange(talkative, REQUESTS[name].encode("latin1"))
    seen = statuses(received)
    assert all(status < 500 for status in seen), received
    assert len(seen) <= 1, received  # no second answer, for what is left of the request
    assert received.count(b"\r\nContent-Security-Policy: default-src 'none'") == len(seen)
    log = logs[talkative].read_text()
    assert S not in log
    assert "Traceback" not in log
    assert "File " not in log
    assert S not in read_metrics(talkative)


@pytest.mark.fault(
    "malformed requests of every kind, over raw sockets", "no byte in log, metrics or Sentry"
)
def test_nothing_of_malformed_requests_reaches_sentry(
    start_server: StartServer,
    served: Bundle,
    sink: tuple[str, list[bytes]],
    processes: Processes,
    logs: Logs,
) -> None:
    dsn, received = sink
    url = start_server(MODEL_URI=str(served.path), SENTRY_DSN=dsn, METRICS_TOKEN=TOKEN)
    for data in REQUESTS.values():
        exchange(url, data.encode("latin1"))
    assert S not in read_metrics(url)
    processes[url].terminate()  # which also sends what Sentry has not sent
    processes[url].wait(30)
    assert "A request was refused: InvalidHeader" in logs[url].read_text()
    assert S not in logs[url].read_text()
    assert S.encode() not in b"".join(received)


def test_a_worker_leaves_no_core_dump(server: str, processes: Processes) -> None:
    psutil = pytest.importorskip("psutil")
    (worker,) = psutil.Process(processes[server].pid).children()
    limits = Path(f"/proc/{worker.pid}/limits")
    if not limits.exists():
        pytest.skip("needs Linux, which shows the limits of another process")
    (line,) = [line for line in limits.read_text().splitlines() if "core file" in line]
    assert line.split()[4:6] == ["0", "0"]
