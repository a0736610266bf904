"""Workers that are replaced, killed or stopped, and models that are swapped, while visitors ask."""

import http.client
import signal
import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from processing.bundle import Bundle
from processing.store.open import open_store
from tests.app.fixture_types import MakeBundle, Processes, StartServer
from tests.forms import ask, encode_form
from tests.gunicorn_server import wait

VISITORS = 6
LOST = "lost"  # the connection broke before the answer

Outcomes = list[tuple[int | str, Any]]


@contextmanager
def visit(url: str, photo: bytes) -> Iterator[Outcomes]:
    """Have visitors ask all the time, and collect their answers, until all is well again."""
    form = encode_form([photo])
    outcomes: Outcomes = []
    over = threading.Event()

    def ask_again() -> None:
        while not over.is_set():
            try:
                outcomes.append(ask(url, *form))
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
                outcomes.append((LOST, None))
            over.wait(0.02)

    visitors = [threading.Thread(target=ask_again) for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    try:
        wait(lambda: len(outcomes) > VISITORS)
        yield outcomes
        latest = len(outcomes) + 2 * VISITORS
        wait(lambda: latest < len(outcomes) and {status for status, _ in outcomes[-10:]} == {200})
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()


def choose(point: str, bundle: Bundle) -> dict[str, Any]:
    """The changes with which a bundle decides by another of its operating points."""
    modalities = {
        kind: evidence.model_copy(update={"operating_point": point})
        for kind, evidence in bundle.manifest.modalities.items()
    }
    return {"operating_point": point, "modalities": modalities}


def read_answer(content: Any) -> tuple[str, float, float]:
    (image,) = content["images"]
    return content["model"]["version"], image["threshold"], image["probability"]


@pytest.mark.fault("models are swapped under load", "each answer is of one model; none is lost")
def test_each_answer_is_of_the_model_that_it_names(
    start_server: StartServer,
    make_bundle: MakeBundle,
    served: Bundle,
    tmp_path: Path,
    photo: bytes,
) -> None:
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    bundles = [
        make_bundle(point, {"MODEL_CARD.md": point.encode()}, **choose(point, served))
        for point in ("sensitivity 0.95", "balanced")
    ]
    store.publish(bundles[0].path)
    url = start_server(MODEL_URI=str(tmp_path / "store"), MODEL_REFRESH_SECONDS="1")
    form = encode_form([photo])
    right = {read_answer(ask(url, *form)[1])}
    with visit(url, photo) as outcomes:

        def swap(version: str) -> None:
            wait(lambda: any(version in str(content) for _, content in outcomes[-VISITORS:]))

        store.publish(bundles[1].path)
        swap(bundles[1].manifest.version)
        right.add(read_answer(ask(url, *form)[1]))
        for _ in range(2):
            store.rollback()
            swap(bundles[0].manifest.version)
            store.publish(bundles[1].path)
            swap(bundles[1].manifest.version)
    assert {status for status, _ in outcomes} == {200}
    assert {read_answer(content) for _, content in outcomes} == right
    assert len({threshold for _, threshold, _ in right}) == 2


@pytest.fixture
def two_workers(
    start_server: StartServer, served: Bundle, processes: Processes
) -> tuple[str, psutil.Process]:
    """The address of a server with two workers, and its process."""
    url = start_server(MODEL_URI=str(served.path), WEB_CONCURRENCY="2")
    return url, psutil.Process(processes[url].pid)


@pytest.mark.fault("SIGHUP under load", "no request is lost")
def test_workers_are_replaced_without_losing_a_request(
    two_workers: tuple[str, psutil.Process], photo: bytes
) -> None:
    url, gunicorn = two_workers
    before = {each.pid for each in gunicorn.children()}
    with visit(url, photo) as outcomes:
        gunicorn.send_signal(signal.SIGHUP)
        wait(lambda: not before & {each.pid for each in gunicorn.children()})
    # The new ones say 503 until they have loaded their model.
    assert {status for status, _ in outcomes} <= {200, 503}


@pytest.mark.fault("a worker is killed under load", "only what it had begun is lost")
def test_a_killed_worker_loses_only_what_it_had_begun(
    two_workers: tuple[str, psutil.Process], photo: bytes
) -> None:
    url, gunicorn = two_workers
    with visit(url, photo) as outcomes:
        killed = gunicorn.children()[0]
        killed.kill()
        wait(lambda: len({*gunicorn.children()} - {killed}) == 2)
    assert {status for status, _ in outcomes} <= {200, 503, LOST}
    assert [status for status, _ in outcomes].count(LOST) <= VISITORS


@pytest.mark.fault("SIGTERM while 40 clients never read", "others are answered, exit within 25 s")
def test_clients_that_never_read_do_not_delay_the_end(
    start_server: StartServer, served: Bundle, processes: Processes, photo: bytes
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    address = (urlsplit(url).hostname, urlsplit(url).port)
    request = 100 * b"GET /static/jquery-4.0.0.min.js HTTP/1.1\r\nHost: x\r\n\r\n"
    held = []
    for _ in range(40):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(request)
        held.append(connection)
    time.sleep(1)
    outcomes = []
    form = encode_form([photo] * 10, stability="true")
    sender = threading.Thread(target=lambda: outcomes.append(ask(url, *form)))
    sender.start()
    time.sleep(0.3)
    asked = time.monotonic()
    processes[url].send_signal(signal.SIGTERM)
    sender.join()
    assert processes[url].wait(30) == 0
    assert time.monotonic() - asked < 20
    for connection in held:
        connection.close()
    ((status, content),) = outcomes
    assert status == 200
    assert len(content["images"]) == 10
