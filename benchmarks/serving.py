"""What serving costs, measured on this machine: `python -m benchmarks.serving`.

Start, memory and speed of the app under gunicorn, as the Procfile starts it, with the embedded
model, beside the bare inference runtime on the same image: the bound that no server can beat.
"""

import http.client
import io
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from app.classifier import Classifier
from app.service import EMBEDDED_BUNDLE
from processing.bundle import read_bundle
from processing.drawing import draw_photo
from processing.image import read_square

ROOT = Path(__file__).parents[1]
PHOTO_SIZE = 1024  # pixels, the usual size of a dermoscopic image
MEASURED_SECONDS = 5.0
_FORM = "multipart/form-data; boundary=edge"


@dataclass(frozen=True)
class Server:
    """A started gunicorn."""

    process: "subprocess.Popen[bytes]"
    connection: http.client.HTTPConnection
    started: float  # time.perf_counter()

    def request(self, method: str, path: str, body: bytes | None = None) -> int:
        """Ask, read the whole answer, and return its status."""
        headers = {"Accept": "application/json", "Content-Type": _FORM}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        response.read()
        return response.status

    def age_seconds(self) -> float:
        """Time since the process was started."""
        return time.perf_counter() - self.started


@contextmanager
def start_server() -> Iterator[Server]:
    """gunicorn with one worker on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=ROOT,
        env=os.environ
        | {
            "PORT": str(port),
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "WARNING",
            "RATE_LIMIT": "unlimited",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Server(process, http.client.HTTPConnection("127.0.0.1", port), started)
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(server: Server) -> None:
    """Ask for readiness until it is there."""
    while True:
        try:
            if server.request("GET", "/readyz") == 200:
                return
        except OSError:
            server.connection.close()
        if server.process.poll() is not None:
            sys.exit("gunicorn stopped; run `gunicorn wsgi:app` to see why.")
        time.sleep(0.005)


def read_memory_mb(server: Server) -> dict[str, float]:
    """Memory of the worker, in MB: peak and present RSS, and PSS, which shares what is shared."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    worker = Path("/proc") / children.read_text().split()[0]
    fields = {}
    for file in ("status", "smaps_rollup"):
        for line in (worker / file).read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "VmRSS", "Pss"):
                fields[name] = int(value.split()[0]) * 1024 / 1e6
    return fields


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """Median milliseconds of `call`, and calls per second, over `MEASURED_SECONDS`."""
    for _ in range(5):
        call()
    milliseconds = []
    end = time.perf_counter() + MEASURED_SECONDS
    while (started := time.perf_counter()) < end:
        call()
        milliseconds.append((time.perf_counter() - started) * 1000)
    return statistics.median(milliseconds), 1000 * len(milliseconds) / sum(milliseconds)


def main() -> None:
    """Measure and print."""
    file = io.BytesIO()
    Image.fromarray(draw_photo(1, PHOTO_SIZE, irregular=True)).save(file, "JPEG", quality=90)
    photo = file.getvalue()
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    form = head + photo + b"\r\n--edge--\r\n"

    classifier = Classifier(read_bundle(EMBEDDED_BUNDLE), threads=min(os.cpu_count() or 1, 4))
    wanted = classifier.manifest.input
    size, crop = wanted.size, wanted.crop_fraction
    squares = read_square(photo, size=size, crop_fraction=crop).pixels[np.newaxis]
    runtime_ms, runtime_rate = measure(lambda: classifier.classify(squares))
    decode_ms, _ = measure(lambda: read_square(photo, size=size, crop_fraction=crop))

    with start_server() as server:
        wait_until_ready(server)
        ready = server.age_seconds()
        assert server.request("POST", "/predict", form) == 200
        answered = server.age_seconds()
        at_rest = read_memory_mb(server)
        request_ms, request_rate = measure(lambda: server.request("POST", "/predict", form))
        loaded = read_memory_mb(server)

    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("ai-edge-litert", "flask", "gunicorn", "pillow")
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"Python {platform.python_version()}, {libraries}")
    print(
        f"{classifier.manifest.backbone} at {size} px, model {classifier.manifest.version[:12]}; "
        f"JPEG of {PHOTO_SIZE} x {PHOTO_SIZE} px, {len(photo) / 1e3:.0f} kB; 1 worker, 1 client\n"
    )
    for name, value, unit in (
        ("start to /readyz 200", ready, "s"),
        ("start to first answer of POST /predict", answered, "s"),
        ("worker RSS after the first answer", at_rest["VmRSS"], "MB"),
        ("worker PSS after the first answer", at_rest["Pss"], "MB"),
        ("worker RSS, peak under load", loaded["VmHWM"], "MB"),
        ("inference alone, median", runtime_ms, "ms"),
        ("decode and cut, median", decode_ms, "ms"),
        ("POST /predict, median", request_ms, "ms"),
        ("bare runtime in a loop", runtime_rate, "1/s"),
        ("POST /predict, one client", request_rate, "1/s"),
        ("share of the bare runtime", request_rate / runtime_rate, ""),
    ):
        print(f"{name:<42}{value:>10.2f} {unit}")


if __name__ == "__main__":
    main()
