"""The app under gunicorn, as benchmarks start and ask it, and a photo to send."""

import http.client
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from PIL import Image
from urllib3 import encode_multipart_formdata

from processing.drawing import draw_photo

ROOT = Path(__file__).parents[1]


Form = tuple[bytes, dict[str, str]]  # body and headers


def pack_form(photo: bytes) -> Form:
    """Make body and headers of a form with one photo that asks for JSON."""
    body, content_type = encode_multipart_formdata({"image": ("a.jpg", photo)})
    return body, {"Accept": "application/json", "Content-Type": content_type}


def draw_jpeg(width: int, height: int) -> bytes:
    """Draw a lesion and encode it as a JPEG."""
    file = io.BytesIO()
    drawn = Image.fromarray(draw_photo(1, min(width, 1024), irregular=True))
    drawn.resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


@dataclass(frozen=True)
class Server:
    """A running gunicorn."""

    process: "subprocess.Popen[bytes]"
    port: int
    ready_seconds: float  # from its start until /readyz answers 200

    def ask(self, connection: http.client.HTTPConnection, form: Form) -> int:
        """Send a form with a photo, read the whole answer, and return its status."""
        try:
            connection.request("POST", "/predict", *form)
            response = connection.getresponse()
        except ConnectionError:  # a server may close a connection that was idle for a while
            connection.close()
            connection.request("POST", "/predict", *form)
            response = connection.getresponse()
        response.read()
        return response.status

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection for several requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def measure_memory(self) -> float:
        """Return the PSS of the largest worker in MB."""
        workers = psutil.Process(self.process.pid).children()
        return max(float(worker.memory_full_info().pss) for worker in workers) / 1e6


@contextmanager
def serve(*command: str, **variables: str) -> Iterator[Server]:
    """Run gunicorn on a free port, by default with one worker."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ours = {
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "LOG_LEVEL": "WARNING",
        "RATE_LIMIT": "unlimited",
    }
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *command],
        cwd=ROOT,
        env=os.environ | ours | variables,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                raise click.ClickException(
                    f"gunicorn stopped. Run `gunicorn {' '.join(command)}` to see why."
                )
            time.sleep(0.005)
        ready = time.perf_counter() - started
        while not all(_is_ready(port) for _ in range(20)):  # whichever worker answers
            time.sleep(0.1)
        yield Server(process, port, ready)
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with closing(connection), suppress(OSError):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False
