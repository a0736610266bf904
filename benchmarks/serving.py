"""What serving costs on this machine: `python -m benchmarks.serving`.

It measures the app under gunicorn, with one worker and with one per core, with the embedded model
and with an untrained EfficientNetB4 at 384 px. Each is compared with the bare inference runtime in
a loop on the same square, a bound that no server can beat; B4 also with the usual first version of
such an app: Keras's `model.predict` in Flask, with the model loaded once or for every request.
"""

import http.client
import io
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import simplejpeg
from PIL import Image
from tqdm import tqdm
from urllib3 import encode_multipart_formdata

from app.classifier import Classifier
from app.service import EMBEDDED_BUNDLE
from processing.bundle import read_bundle
from processing.drawing import draw_photo
from processing.image import read_square

ROOT = Path(__file__).parents[1]
PHOTO_SIZE = 1024  # pixels, a usual size of dermoscopic images
SECONDS = 8.0  # duration of each measurement
CLIENTS = 6  # under load; fewer than the queue holds, so that all get an answer


def pack_form(photo: bytes) -> tuple[bytes, dict[str, str]]:
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

    def ask(self, connection: http.client.HTTPConnection, photo: bytes) -> int:
        """Send the photo, read the whole answer, and return its status."""
        connection.request("POST", "/predict", *pack_form(photo))
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
                sys.exit(f"gunicorn stopped; run `gunicorn {' '.join(command)}` to see why.")
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


@dataclass(frozen=True)
class Speed:
    """How fast something is that is called again and again."""

    rate: float  # calls per second
    p50: float  # ms
    p99: float  # ms


def measure(*calls: Callable[[], object], seconds: float = SECONDS) -> Speed:
    """Call each of `calls` in a thread of its own, all at the same time."""
    taken: list[float] = []
    for call in calls:
        call()
    end = time.perf_counter() + seconds

    def repeat(call: Callable[[], object]) -> None:
        while True:
            started = time.perf_counter()
            call()
            done = time.perf_counter()
            taken.append((done - started) * 1000)
            if done > end:
                return

    started = time.perf_counter()
    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    return Speed(len(taken) / elapsed, statistics.median(taken), float(np.percentile(taken, 99)))


@dataclass(frozen=True)
class Row:
    """The measurements of one server."""

    name: str
    one: Speed
    many: Speed
    memory: float | None = None  # MB
    ready: float | None = None  # s


def measure_server(name: str, photo: bytes, *command: str, **variables: str) -> Row:
    """Measure a server with one client and then with several."""

    def asking(server: Server) -> Callable[[], object]:
        connection = server.connect()

        def ask() -> None:
            status = server.ask(connection, photo)
            if status != 200:
                sys.exit(f"{name} answered {status}")

        return ask

    with serve(*command, **variables) as server:
        one = measure(asking(server))
        many = measure(*(asking(server) for _ in range(CLIENTS)))
        return Row(name, one, many, server.measure_memory(), server.ready_seconds)


def measure_app(name: str, photo: bytes, model: str) -> Iterator[Row]:
    """Measure this app with one worker, and with one per core, as for many visitors."""
    yield measure_server(name, photo, "wsgi:app", MODEL_URI=model)
    workers = str(os.cpu_count())
    several = f"{name}, {workers} workers"
    yield measure_server(several, photo, "wsgi:app", MODEL_URI=model, WEB_CONCURRENCY=workers)


def measure_bound(name: str, bundle: Path, photo: bytes) -> Row:
    """Measure the bare runtime in a loop on the square of the photo, with all cores."""
    classifier = Classifier(read_bundle(bundle), threads=min(os.cpu_count() or 1, 4))
    wanted = classifier.manifest.input
    square = read_square(photo, **wanted.model_dump())
    squares = square.pixels[np.newaxis]
    bound = measure(lambda: classifier.classify(squares))
    return Row(name, bound, bound)


@dataclass(frozen=True)
class Ratio:
    """The ratio of two measurements; above 1, the first one is better."""

    name: str
    value: float
    goal: float | None = None

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"  (goal: {self.goal:g})"
        return f"  {self.name:<58}{self.value:>7.2f}{goal}"


def share(name: str, ours: Speed, bound: Row) -> Ratio:
    """Compare the rate of a server with that of the bare runtime."""
    return Ratio(f"{name}, fraction of the bare runtime's rate", ours.rate / bound.one.rate, 0.9)


def gains(name: str, ours: Row, usual: Row, one: float, many: float) -> list[Ratio]:
    """Compare an app with the usual one, with goals for one client and for several."""
    time_ratio, rate_ratio = usual.one.p50 / ours.one.p50, ours.many.rate / usual.many.rate
    return [
        Ratio(f"{name}, time with one client, usual app / this app", time_ratio, one),
        Ratio(f"{name}, rate under load, this app / usual app", rate_ratio, many),
    ]


def print_rows(title: str, rows: list[Row], ratios: list[Ratio]) -> None:
    """Print a table and the ratios below it."""
    print(f"\n{title}")
    print(f"{'':<34}{'one client':>28}{f'{CLIENTS} clients':>30}{'memory':>11}{'ready':>9}")
    print(f"{'':<34}{'1/s':>8}{'p50':>10}{'p99':>10}" + f"{'1/s':>10}{'p50':>10}{'p99':>10}")
    for row in rows:
        speeds = "".join(
            f"{speed.rate:>{width}.1f}{speed.p50:>7.1f} ms{speed.p99:>7.1f} ms"
            for speed, width in ((row.one, 8), (row.many, 10))
        )
        memory = "" if row.memory is None else f"{row.memory:>8.0f} MB"
        ready = "" if row.ready is None else f"{row.ready:>7.2f} s"
        print(f"{row.name:<34}{speeds}{memory}{ready}")
    print(*ratios, sep="\n")


def measure_phone_photo(bundle: Path) -> None:
    """Compare reading a photo of 24 megapixels with its bare decoding at the scale needed."""
    photo = draw_jpeg(6000, 4000)
    wanted = read_bundle(bundle).manifest.input
    side = wanted.crop_fraction * 4000
    height = next(4000 * n // 8 for n in range(1, 9) if side * n / 8 >= wanted.size)
    bare = measure(lambda: simplejpeg.decode_jpeg(photo, min_height=height, min_width=1))
    ours = measure(lambda: read_square(photo, **wanted.model_dump()))
    print(f"\nA JPEG of 24 megapixels, {len(photo) / 1e6:.1f} MB, to {wanted.size} px")
    print(f"  libjpeg-turbo alone, at the scale needed {bare.p50:>10.1f} ms")
    print(f"  decoded, turned, cut and resized here {ours.p50:>13.1f} ms")
    print(f"  {'ratio':<58}{ours.p50 / bare.p50:>7.2f}  (goal: below 1.3)")


def main() -> None:
    """Measure everything and print it."""
    photo = draw_jpeg(PHOTO_SIZE, PHOTO_SIZE)
    libraries = ("ai-edge-litert", "flask", "gunicorn", "pillow", "keras", "tensorflow")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    print(
        f"Python {platform.python_version()}", *(f"{x} {version(x)}" for x in libraries), sep=", "
    )
    print(
        f"JPEG of {PHOTO_SIZE} x {PHOTO_SIZE} px, {len(photo) / 1e3:.0f} kB; {SECONDS:.0f} s each"
    )
    with (
        tempfile.TemporaryDirectory() as name,
        tqdm(total=12, desc="Measuring", leave=False) as bar,
    ):
        folder = Path(name)

        def done(row: Row) -> Row:
            bar.update()
            return row

        embedded = str(EMBEDDED_BUNDLE)
        bound = done(measure_bound("bare runtime", EMBEDDED_BUNDLE, photo))
        app, apps = (done(row) for row in measure_app("this app", photo, embedded))
        untrained = [sys.executable, "-m", "benchmarks.untrained", name]
        subprocess.run(untrained, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        bar.update()
        (folder / "empty.py").touch()  # replaces this project's gunicorn.conf.py
        usual = ["benchmarks.usual_app:app", "--config", str(folder / "empty.py")]
        usual += ["--worker-class", "gthread", "--threads", "8"]
        keras_file = str(folder / "model.keras")
        rows = []
        for precision in ("float32", "int8"):
            bundle = folder / precision
            rows.append(done(measure_bound(f"bare runtime, {precision}", bundle, photo)))
            for row in measure_app(f"this app, {precision}", photo, str(bundle)):
                rows.append(done(row))
        for title, load in (("loaded once", "once"), ("loaded for every request", "always")):
            row = measure_server(
                f"usual app, {title}", photo, *usual, KERAS_MODEL=keras_file, LOAD=load
            )
            rows.append(done(row))
    manifest = read_bundle(EMBEDDED_BUNDLE).manifest
    print_rows(
        f"{manifest.backbone} at {manifest.input.size} px, embedded ({manifest.version[:12]})",
        [bound, app, apps],
        [
            share("one client", app.one, bound),
            share("several clients", app.many, bound),
            share("several clients, a worker per core", apps.many, bound),
        ],
    )
    bare, float32, floats32, bare8, int8, ints8, once, always = rows
    print_rows(
        "EfficientNetB4 at 384 px, untrained",
        rows,
        [
            share("float32", float32.many, bare),
            share("float32, a worker per core", floats32.many, bare),
            share("int8", int8.many, bare8),
            share("int8, a worker per core", ints8.many, bare8),
            *gains("float32", float32, once, 3, 1.6),
            *gains("int8", int8, once, 5, 5),
            Ratio(
                "float32, time, loading for every request / this app",
                always.one.p50 / float32.one.p50,
            ),
        ],
    )
    measure_phone_photo(EMBEDDED_BUNDLE)


if __name__ == "__main__":
    main()
