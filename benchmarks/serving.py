"""What serving costs, measured on this machine: `python -m benchmarks.serving`.

The app under gunicorn, with one worker and with one for each core, with the embedded model and an
untrained EfficientNetB4 at 384 px; beside each the bare inference runtime on the same square in
a loop, the bound that no server can beat, and for B4 the app that one would write first: Keras's
`model.predict` in Flask, the model loaded once, and the model loaded for every request.
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
PHOTO_SIZE = 1024  # pixels, the usual size of a dermoscopic image
SECONDS = 8.0  # of each measurement
CLIENTS = 6  # under load; fewer than the places of the queue, so that all are answered


def pack_form(photo: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form with one photo, that asks for JSON."""
    body, content_type = encode_multipart_formdata({"image": ("a.jpg", photo)})
    return body, {"Accept": "application/json", "Content-Type": content_type}


def draw_jpeg(width: int, height: int) -> bytes:
    """A photo of a drawn lesion."""
    file = io.BytesIO()
    drawn = Image.fromarray(draw_photo(1, min(width, 1024), irregular=True))
    drawn.resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


@dataclass(frozen=True)
class Server:
    """A gunicorn that answers."""

    process: "subprocess.Popen[bytes]"
    port: int
    ready_seconds: float  # from its start to 200 at /readyz

    def ask(self, connection: http.client.HTTPConnection, photo: bytes) -> int:
        """Send the photo, read the whole answer, and return its status."""
        connection.request("POST", "/predict", *pack_form(photo))
        response = connection.getresponse()
        response.read()
        return response.status

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def measure_memory(self) -> float:
        """PSS of the largest worker, MB."""
        workers = psutil.Process(self.process.pid).children()
        return max(float(worker.memory_full_info().pss) for worker in workers) / 1e6


@contextmanager
def serve(*command: str, **variables: str) -> Iterator[Server]:
    """gunicorn, by itself with one worker, on a free port."""
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
        while not all(_is_ready(port) for _ in range(20)):  # whichever worker is asked
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
    """Of one thing, called again and again."""

    rate: float  # per second
    p50: float  # ms
    p99: float  # ms


def measure(*calls: Callable[[], object], seconds: float = SECONDS) -> Speed:
    """Call each of `calls` in a thread of its own, all at once."""
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
    """What was measured of one server."""

    name: str
    one: Speed
    many: Speed
    memory: float | None = None  # MB
    ready: float | None = None  # s


def measure_server(name: str, photo: bytes, *command: str, **variables: str) -> Row:
    """One client, then several."""

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
    """Ours with one worker, and with one for each core, as it is started for many visitors."""
    yield measure_server(name, photo, "wsgi:app", MODEL_URI=model)
    workers = str(os.cpu_count())
    several = f"{name}, {workers} workers"
    yield measure_server(several, photo, "wsgi:app", MODEL_URI=model, WEB_CONCURRENCY=workers)


def measure_bound(name: str, bundle: Path, photo: bytes) -> Row:
    """The bare runtime in a loop, on the square of the photo, with all cores."""
    classifier = Classifier(read_bundle(bundle), threads=min(os.cpu_count() or 1, 4))
    wanted = classifier.manifest.input
    square = read_square(photo, **wanted.model_dump())
    squares = square.pixels[np.newaxis]
    bound = measure(lambda: classifier.classify(squares))
    return Row(name, bound, bound)


@dataclass(frozen=True)
class Ratio:
    """Of two figures of this run; above 1, the first is the better."""

    name: str
    value: float
    goal: float | None = None

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"  (goal: {self.goal:g})"
        return f"  {self.name:<58}{self.value:>7.2f}{goal}"


def share(name: str, ours: Speed, bound: Row) -> Ratio:
    """How near a server comes to the bare runtime."""
    return Ratio(f"{name}, share of the bare runtime's rate", ours.rate / bound.one.rate, 0.9)


def gains(name: str, ours: Row, usual: Row, one: float, many: float) -> list[Ratio]:
    """How much better it is than the usual app, with the goals for one client and for several."""
    time_ratio, rate_ratio = usual.one.p50 / ours.one.p50, ours.many.rate / usual.many.rate
    return [
        Ratio(f"{name}, time of one client, usual app's to ours", time_ratio, one),
        Ratio(f"{name}, rate under load, ours to usual app's", rate_ratio, many),
    ]


def print_rows(title: str, rows: list[Row], ratios: list[Ratio]) -> None:
    """A table, and the ratios under it."""
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
    """What a photo of 24 megapixels costs beside its bare decode at the scale that is needed."""
    photo = draw_jpeg(6000, 4000)
    wanted = read_bundle(bundle).manifest.input
    side = wanted.crop_fraction * 4000
    height = next(4000 * n // 8 for n in range(1, 9) if side * n / 8 >= wanted.size)
    bare = measure(lambda: simplejpeg.decode_jpeg(photo, min_height=height, min_width=1))
    ours = measure(lambda: read_square(photo, **wanted.model_dump()))
    print(f"\nA JPEG of 24 megapixels, {len(photo) / 1e6:.1f} MB, to {wanted.size} px")
    print(f"  libjpeg-turbo alone, at the scale needed {bare.p50:>10.1f} ms")
    print(f"  decoded, turned, cut and resized by us {ours.p50:>12.1f} ms")
    print(f"  {'ratio':<58}{ours.p50 / bare.p50:>7.2f}  (goal: below 1.3)")


def main() -> None:
    """Measure and print."""
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
        (folder / "empty.py").touch()  # instead of our gunicorn.conf.py
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
            share("several clients, a worker a core", apps.many, bound),
        ],
    )
    bare, float32, floats32, bare8, int8, ints8, once, always = rows
    print_rows(
        "EfficientNetB4 at 384 px, untrained",
        rows,
        [
            share("float32", float32.many, bare),
            share("float32, a worker a core", floats32.many, bare),
            share("int8", int8.many, bare8),
            share("int8, a worker a core", ints8.many, bare8),
            *gains("float32", float32, once, 3, 1.6),
            *gains("int8", int8, once, 5, 5),
            Ratio("float32, time to loading for every request", always.one.p50 / float32.one.p50),
        ],
    )
    measure_phone_photo(EMBEDDED_BUNDLE)


if __name__ == "__main__":
    main()
