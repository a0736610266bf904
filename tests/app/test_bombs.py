"""Photos that are made to harm, sent to the real app on a dyno's memory."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmarks.dyno import count_kills, limited_memory
from processing.bundle import Bundle
from tests.app.fixture_types import Processes, StartServer
from tests.bombs.test_bombs import BOMBS
from tests.forms import ask, encode_form
from tests.gunicorn_server import wait

SENT = (
    *("3,500 empty scans", "4 MB of Exif segments", "progressive CMYK, short on one side"),
    *("31 overlapping extents", "HEIC 4:4:4 of 48 megapixels", "grey with alpha"),
    *("palette with transparency", "90 empty scans of 49 megapixels", "grids of grids"),
    *("a HEIC of 24 megapixels", "a large WebP"),
)
MAX_GROWTH_MB = 160  # 150 for the photo; the app itself keeps some of its first requests


@pytest.fixture(scope="module")
def dyno() -> Iterator[Path | None]:
    """A cgroup of 512 MB, or None where none can be made."""
    with limited_memory() as group:
        yield group


def find_family(server: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """gunicorn, its worker, and the process that decodes."""
    gunicorn = psutil.Process(server.pid)
    return [gunicorn, *gunicorn.children(recursive=True)]


def measure_pss(server: "subprocess.Popen[bytes]") -> float:
    total = 0
    for process in find_family(server):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it was just replaced
            continue
    return total / 1e6


@pytest.mark.fault(
    "photos that are made to harm, on 512 MB", "400, 413 or 415; others are answered"
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn runs on POSIX systems")
def test_photos_made_to_harm_are_refused_and_others_answered(
    start_server: StartServer,
    processes: Processes,
    served: Bundle,
    dyno: Path | None,
    photo: bytes,
    record_property: Callable[[str, object], None],
) -> None:
    url = start_server(dyno, MODEL_URI=str(served.path))
    server = processes[url]
    family = find_family(server)
    assert len(family) == 3
    assert ask(url, *encode_form([photo]))[0] == 200
    rest = peak = measure_pss(server)
    for name in SENT:
        forms = encode_form([BOMBS[name][0]()]), encode_form([photo])
        with ThreadPoolExecutor(len(forms)) as visitors:
            answers = [visitors.submit(ask, url, *form) for form in forms]
            while not all(answer.done() for answer in answers):
                peak = max(peak, measure_pss(server))
        refused, usual = (answer.result()[0] for answer in answers)
        assert usual == 200, name
        assert refused in (200, 400, 413), name
        if isinstance(BOMBS[name][1], str):
            assert refused != 200, name
    assert peak - rest < MAX_GROWTH_MB
    assert family[:2] == find_family(server)[:2]  # the app itself was never replaced
    if dyno:
        assert count_kills(dyno) == 0
    record_property("measured", f"PSS at rest {rest:.0f} MB, at most {peak:.0f} MB")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn runs on POSIX systems")
def test_a_photo_that_ends_the_decoder_does_not_end_the_form(
    start_server: StartServer, processes: Processes, served: Bundle, photo: bytes
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    bomb = BOMBS["grids of grids"][0]()
    status, answer = ask(url, *encode_form([photo, bomb, photo]))
    assert status == 200
    first, second, third = answer["images"]
    assert first["assessable"]
    assert third["assessable"]
    assert second["error"]["type"] == "/problems/image-broken"
    *_, decoder = find_family(processes[url])
    processes[url].terminate()
    processes[url].wait(30)
    wait(lambda: not decoder.is_running())
