"""gunicorn's worker with slow clients, and when it is stopped."""

import signal
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from processing.bundle import Bundle
from tests.app.fixture_types import Processes, StartServer, WaitUntil
from tests.forms import ask, encode_form


def connect(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


@pytest.mark.fault(
    "forty uploads of a few bytes a second (slow loris)",
    "others are answered, the slow ones get 408",
)
def test_forty_senders_that_never_finish_keep_nobody_out_and_are_ended(
    start_server: StartServer, served: Bundle, photo: bytes, wait_until: WaitUntil
) -> None:
    url = start_server(MODEL_URI=str(served.path), UPLOAD_SECONDS="6")
    body, headers = encode_form([photo])
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    slow = [connect(url) for _ in range(40)]
    over = threading.Event()

    def trickle() -> None:
        for i in range(1000):
            for number, connection in enumerate(slow):
                # Half of them never come so far as to the body.
                sent = head[i : i + 1].encode() if number < 20 else body[i : i + 1]
                with suppress(OSError):  # it was ended
                    connection.sendall(sent)
            if over.wait(0.5):
                return

    for connection in slow[20:]:
        connection.sendall(head.encode())
    sender = threading.Thread(target=trickle, daemon=True)
    sender.start()
    started = time.monotonic()
    for _ in range(5):
        assert ask(url, body, headers)[0] == 200
    assert time.monotonic() - started < 5
    answers = [read_all(connection) for connection in slow]
    over.set()
    sender.join()
    for connection in slow:
        connection.close()
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers), answers
    assert ask(url, body, headers)[0] == 200


@pytest.mark.fault("SIGTERM with 20 requests in flight", "all are answered, exit within 25 s")
def test_a_server_told_to_stop_answers_what_it_has_begun(
    start_server: StartServer, served: Bundle, photo: bytes, processes: Processes
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    body, headers = encode_form([photo] * 10, stability="true")
    outcomes = []
    begun = threading.Barrier(21)

    def send() -> None:
        begun.wait()
        outcomes.append(ask(url, body, headers))

    senders = [threading.Thread(target=send) for _ in range(20)]
    for sender in senders:
        sender.start()
    begun.wait()
    time.sleep(0.3)
    asked = time.monotonic()
    processes[url].send_signal(signal.SIGTERM)
    for sender in senders:
        sender.join()
    assert processes[url].wait(30) == 0
    assert time.monotonic() - asked < 25
    statuses = [status for status, _ in outcomes]
    assert len(statuses) == 20
    assert set(statuses) == {200, 503}
    for status, answer in outcomes:
        if status == 200:
            assert sum("probability" in image for image in answer["images"]) == 10
        else:
            assert answer["type"] == "/problems/busy"
    with pytest.raises(ConnectionRefusedError):
        connect(url)
