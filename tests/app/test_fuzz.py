"""Made-up requests over raw sockets, against the real process. `FUZZED` sets how many."""

import os
import random
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from processing.bundle import Bundle
from tests.app.fixture_types import Logs, Processes, StartServer
from tests.app.http_grammar import SENTINEL, Grammar
from tests.app.raw_http import exchange, statuses
from tests.app.test_metrics import TOKEN, read_metrics
from tests.forms import ask, encode_form

COUNT = int(os.environ.get("FUZZED", "400"))
WARM_UP = 200  # each thread takes its memory once
GROWTH_MB = 15  # as in test_mutations.py
MAX_SERIES = 100  # of requests: 12 endpoints, 5 methods, and few statuses each


def make_up(number: int, photo: bytes) -> bytes:
    """The request of this number, which is always the same."""
    return Grammar(random.Random(number), photo).request()


def test_the_grammar_makes_what_is_right_and_what_is_wrong(photo: bytes) -> None:
    made = [make_up(i, photo) for i in range(300)]
    assert len(set(made)) == 300
    assert sum(SENTINEL in each for each in made) > 100
    assert sum(photo in each for each in made) > 10
    assert make_up(7, photo) == made[7]


@pytest.mark.timeout(3600)
@pytest.mark.fault(
    "made-up HTTP, forms and chunks by the thousand",
    "no 5xx but 503, nothing of them kept, memory flat",
)
def test_made_up_requests_are_answered_or_refused(
    start_server: StartServer,
    served: Bundle,
    processes: Processes,
    logs: Logs,
    small_photo: bytes,
    record_property: Callable[[str, object], None],
) -> None:
    url = start_server(MODEL_URI=str(served.path), METRICS_TOKEN=TOKEN, LOG_LEVEL="DEBUG")
    (worker,) = psutil.Process(processes[url].pid).children()
    for number in range(WARM_UP):
        exchange(url, make_up(number, small_photo))
    seen: Counter[int] = Counter()
    memory = [worker.memory_info().rss / 1e6]
    for number in range(COUNT):
        received = exchange(url, make_up(WARM_UP + number, small_photo))
        found = statuses(received)
        assert all(status < 500 or status == 503 for status in found), (number, received)
        seen.update(found or [0])
        if number + 1 in (COUNT // 2, COUNT):
            memory.append(worker.memory_info().rss / 1e6)
    by_status = ", ".join(f"{seen[status]} with {status}" for status in sorted(seen))
    record_property(
        "measured",
        f"{COUNT} requests, answered {by_status} (0: not at all); worker's RSS "
        f"{memory[0]:.0f} MB before, {memory[1]:.0f} after half of them, {memory[2]:.0f} after all",
    )
    assert {200, 400, 404, 405} <= seen.keys()
    assert ask(url, *encode_form([small_photo]))[0] == 200
    assert memory[2] - memory[1] < GROWTH_MB
    log = logs[url].read_text(errors="replace")
    assert SENTINEL.decode() not in log
    assert "Traceback" not in log
    assert " fault" not in log
    metrics = read_metrics(url)
    assert SENTINEL.decode() not in metrics
    assert metrics.count("\nmelanoma_requests_total{") < MAX_SERIES
