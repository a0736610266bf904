"""Damaged photos by the thousand, against the real process. `MUTATIONS` sets how many."""

import http.client
import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image

from processing.bundle import Bundle
from processing.drawing import draw_photo
from tests.app.fixture_types import Processes, StartServer
from tests.forms import ask, encode_form
from tests.processing.photos import KINDS, encode, turn

COUNT = int(os.environ.get("MUTATIONS", "400"))
THREADS = 64  # of a worker, as in gunicorn.conf.py; each takes its memory once
GROWTH_MB = 15  # what the allocator may keep beside what it kept after the first fifth


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    """Photos of every kind that is read, and of kinds that are not."""
    drawn = Image.fromarray(draw_photo(1, 160, irregular=True))
    files = [encode(drawn, kind) for kind in KINDS]
    for mode in ("L", "CMYK"):
        files.append(encode(drawn.convert(mode), "JPEG"))
    for mode in ("P", "LA", "I;16"):
        picture = drawn.convert("L").convert("I").convert(mode) if mode == "I;16" else None
        files.append(encode(picture or drawn.convert(mode), "PNG"))
    turned, exif = turn(drawn, 6)
    files.append(encode(turned, "JPEG", exif=exif))
    files.append(encode(drawn, "JPEG", progressive=True))
    files += [encode(drawn, kind) for kind in ("GIF", "TIFF", "BMP")]
    return files


def mutate(rng: random.Random, corpus: list[bytes]) -> bytes:
    """One file of the corpus, damaged in one to four places."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 4)):
        # Half of the time in the header, where the structure is.
        at = rng.randrange(len(data) if rng.random() < 0.5 else min(200, len(data)))
        length = rng.choice((1, 2, 4, 16, 256))
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                data[at : at + length] = rng.choice((b"\0", b"\xff")) * length
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case _:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other)) :]
        if not data:
            break
    return bytes(data)


@pytest.mark.timeout(1800)
@pytest.mark.fault("mutated photos by the thousand", "no 5xx, no crash, memory does not grow")
def test_mutated_photos_are_answered_or_refused(
    start_server: StartServer,
    served: Bundle,
    processes: Processes,
    corpus: list[bytes],
    record_property: Callable[[str, object], None],
) -> None:
    url = start_server(MODEL_URI=str(served.path))
    (worker,) = psutil.Process(processes[url].pid).children()
    form = encode_form(corpus[:1])
    with ThreadPoolExecutor(THREADS) as visitors:
        list(visitors.map(lambda _: ask(url, *form), range(3 * THREADS)))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    rng = random.Random(COUNT)
    seen: dict[int, int] = {}
    memory: list[float] = []
    for i in range(COUNT):
        content = corpus[i] if i < len(corpus) else mutate(rng, corpus)
        connection.request("POST", "/predict", *encode_form([content]))
        answer = connection.getresponse()
        problem = json.load(answer)
        seen[answer.status] = seen.get(answer.status, 0) + 1
        assert answer.status < 500, (i, problem)
        assert answer.status == 200 or problem["type"].startswith("/problems/image-"), (i, problem)
        if i in (COUNT // 5, COUNT - 1):
            memory.append(worker.memory_info().rss / 1e6)
    connection.close()
    by_status = ", ".join(f"{number} with {status}" for status, number in sorted(seen.items()))
    record_property(
        "measured",
        f"{COUNT} photos, answered {by_status}; worker's RSS {memory[0]:.0f} MB after a fifth of "
        f"them, {memory[1]:.0f} MB after all",
    )
    assert {200, 400, 415} <= seen.keys()
    assert worker.is_running()
    assert memory[1] - memory[0] < GROWTH_MB
