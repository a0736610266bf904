"""What serving costs on this machine: `python -m benchmarks.serving`.

It measures the app under gunicorn, with one worker and with one per core, with the embedded model
and with an untrained EfficientNetB4 at 384 px. Each is compared with the bare inference runtime in
a loop on the same square, a bound that no server can beat; B4 also with the usual first version of
such an app: Keras's `model.predict` in Flask, with the model loaded once or for every request.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
import simplejpeg
from tqdm import tqdm

from app.classifier import Classifier
from app.service import EMBEDDED_BUNDLE
from benchmarks.server import ROOT, Server, draw_jpeg, serve
from benchmarks.tool import Report, benchmark
from processing.bundle import read_bundle
from processing.image import read_square

PHOTO_SIZE = 1024  # pixels, a usual size of dermoscopic images
SECONDS = 6.0  # duration of each measurement
CLIENTS = 6  # under load; fewer than the queue holds, so that all get an answer


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
    with ThreadPoolExecutor(len(calls)) as threads:
        list(threads.map(repeat, calls))  # raises what a call raised
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
            try:
                status = server.ask(connection, photo)
            except OSError as error:
                raise click.ClickException(f"{name} did not answer: {error}.") from error
            if status != 200:
                raise click.ClickException(f"{name} answered {status}.")

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


def print_rows(report: Report, title: str, rows: list[Row], ratios: list[Ratio]) -> None:
    """Print a table and the ratios below it."""
    report.begin(title)
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
        for clients, speed in ((1, row.one), (CLIENTS, row.many)):
            report.keep(f"{row.name}, {clients} clients, rate", speed.rate, "1/s")
            report.keep(f"{row.name}, {clients} clients, p50", speed.p50, "ms")
            report.keep(f"{row.name}, {clients} clients, p99", speed.p99, "ms")
        if row.memory is not None and row.ready is not None:
            report.keep(f"{row.name}, memory", row.memory, "MB")
            report.keep(f"{row.name}, ready", row.ready, "s")
    for ratio in ratios:
        goal = "" if ratio.goal is None else f"goal: {ratio.goal:g}"
        report.add(ratio.name, ratio.value, "", goal)


def measure_phone_photo(report: Report, bundle: Path) -> None:
    """Compare reading a photo of 24 megapixels with its bare decoding at the scale needed."""
    photo = draw_jpeg(6000, 4000)
    wanted = read_bundle(bundle).manifest.input
    side = wanted.crop_fraction * 4000
    height = next(4000 * n // 8 for n in range(1, 9) if side * n / 8 >= wanted.size)
    bare = measure(lambda: simplejpeg.decode_jpeg(photo, min_height=height, min_width=1))
    ours = measure(lambda: read_square(photo, **wanted.model_dump()))
    report.begin(f"A JPEG of 24 megapixels, {len(photo) / 1e6:.1f} MB, to {wanted.size} px")
    report.add("libjpeg-turbo alone, at the scale needed", bare.p50, "ms")
    report.add("decoded, turned, cut and resized here", ours.p50, "ms")
    report.add("ratio", ours.p50 / bare.p50, "", "goal: below 1.3")


def measure_embedded(report: Report, photo: bytes) -> None:
    """Measure the app with the model in this repository."""
    with tqdm(total=3, desc="Measuring", leave=False) as bar:
        bound = _count(bar, measure_bound("bare runtime", EMBEDDED_BUNDLE, photo))
        rows = measure_app("this app", photo, str(EMBEDDED_BUNDLE))
        app, apps = (_count(bar, row) for row in rows)
    manifest = read_bundle(EMBEDDED_BUNDLE).manifest
    print_rows(
        report,
        f"{manifest.backbone} at {manifest.input.size} px, embedded ({manifest.version[:12]})",
        [bound, app, apps],
        [
            share("one client", app.one, bound),
            share("several clients", app.many, bound),
            share("several clients, a worker per core", apps.many, bound),
        ],
    )


def measure_large(report: Report, photo: bytes) -> None:
    """Measure this app and the usual one with an untrained EfficientNetB4."""
    with (
        tempfile.TemporaryDirectory() as name,
        tqdm(total=9, desc="Measuring", leave=False) as bar,
    ):
        folder = Path(name)
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
            bare = measure_bound(f"bare runtime, {precision}", bundle, photo)
            rows.append(_count(bar, bare))
            for row in measure_app(f"this app, {precision}", photo, str(bundle)):
                rows.append(_count(bar, row))
        for title, load in (("loaded once", "once"), ("loaded for every request", "always")):
            row = measure_server(
                f"usual app, {title}", photo, *usual, KERAS_MODEL=keras_file, LOAD=load
            )
            rows.append(_count(bar, row))
    bare, float32, floats32, bare8, int8, ints8, once, always = rows
    print_rows(
        report,
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


def _count(bar: "tqdm[NoReturn]", row: Row) -> Row:
    bar.update()
    return row


@benchmark(
    "embedded", "b4", "phone",
    libraries=("ai-edge-litert", "flask", "gunicorn", "pillow", "keras", "tensorflow"),
)  # fmt: skip
def main(report: Report, parts: list[str]) -> None:
    """Measure and print."""
    photo = draw_jpeg(PHOTO_SIZE, PHOTO_SIZE)
    print(
        f"JPEG of {PHOTO_SIZE} x {PHOTO_SIZE} px, {len(photo) / 1e3:.0f} kB; {SECONDS:.0f} s each"
    )
    if "embedded" in parts:
        measure_embedded(report, photo)
    if "b4" in parts:
        measure_large(report, photo)
    if "phone" in parts:
        measure_phone_photo(report, EMBEDDED_BUNDLE)


if __name__ == "__main__":
    main()
