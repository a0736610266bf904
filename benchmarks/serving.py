"""What serving costs on this machine: `python -m benchmarks.serving`.

It measures the app under gunicorn, with one worker and with one per core, with the embedded model
and with an untrained EfficientNetB4 at 384 px. Each is compared with a bound that no server can
beat: libjpeg-turbo's decoding at the scale needed and the bare inference runtime, without HTTP; for
one client with all cores for a photo, and under load with a process for each core. B4 is also
compared with the usual first version of such an app: Keras's `model.predict` in Flask, with the
model loaded once or for every request.
"""

import math
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
from tqdm import tqdm

from app.service import EMBEDDED_BUNDLE
from benchmarks import bound
from benchmarks.server import ROOT, Server, draw_jpeg, pack_form, serve
from benchmarks.tool import Report, benchmark
from processing.bundle import read_bundle
from processing.image import choose_decoded_side, read_square

PHOTO_SIZE = 1024  # pixels, a usual size of dermoscopic images
SECONDS = 4.0  # duration of each measurement
CLIENTS = 6  # under load; fewer than the queue holds, so that all get an answer


@dataclass(frozen=True)
class Speed:
    """How fast something is that is called again and again."""

    rate: float  # calls per second
    p50: float = math.nan  # ms
    p99: float = math.nan  # ms


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
    first: float | None = None  # ms, the first answer after that


def measure_server(name: str, photo: bytes, *command: str, **variables: str) -> Row:
    """Measure a server with one client and then with several."""

    form = pack_form(photo)

    def asking(server: Server) -> Callable[[], object]:
        connection = server.connect()

        def ask() -> None:
            try:
                status = server.ask(connection, form)
            except OSError as error:
                raise click.ClickException(f"{name} did not answer: {error}.") from error
            if status != 200:
                raise click.ClickException(f"{name} answered {status}.")

        return ask

    with serve(*command, **variables) as server:
        started = time.perf_counter()
        asking(server)()
        first = 1000 * (time.perf_counter() - started)
        one = measure(asking(server))
        many = measure(*(asking(server) for _ in range(CLIENTS)))
        return Row(name, one, many, server.measure_memory(), server.ready_seconds, first)


def measure_app(name: str, photo: bytes, **variables: str) -> Iterator[Row]:
    """Measure this app with one worker, and with one per core, as for many visitors."""
    yield measure_server(name, photo, "wsgi:app", **variables)
    workers = str(os.cpu_count())
    several = f"{name}, {workers} workers"
    yield measure_server(several, photo, "wsgi:app", WEB_CONCURRENCY=workers, **variables)


def measure_bound(name: str, bundle: Path, photo: bytes) -> Row:
    """Measure decoding and the bare runtime, see `benchmarks.bound`."""
    one = measure(bound.make_call(bundle, photo, min(bound.CORES, 4)))
    return Row(name, one, Speed(bound.measure_rate(bundle, photo, SECONDS)))


@dataclass(frozen=True)
class Comparison:
    """Two measurements compared: a ratio, which is better above 1, or a difference in ms."""

    name: str
    value: float
    unit: str = ""
    goal: str = ""


def compare_with_bound(name: str, rows: list[Row], bare: Row) -> list[Comparison]:
    """Compare one worker, and one for each core, with the bound."""
    one_worker, several = rows
    rates = {"one worker": one_worker, "a worker per core": several}
    return [
        Comparison(
            f"{name}one client, p50 above the bound's",
            one_worker.one.p50 - bare.one.p50,
            "ms",
            "at most 2.5",
        ),
        *(
            Comparison(
                f"{name}under load, {workers}, fraction of the bound's rate",
                row.many.rate / bare.many.rate,
                goal="at least 0.9",
            )
            for workers, row in rates.items()
        ),
    ]


def compare_with_usual(name: str, ours: Row, usual: Row, goal: float) -> list[Comparison]:
    """Compare an app with the usual one, for one client and for several."""
    ratios = {
        "time with one client, usual app / this app": usual.one.p50 / ours.one.p50,
        "rate under load, this app / usual app": ours.many.rate / usual.many.rate,
    }
    return [
        Comparison(f"{name}{what}", ratio, goal=f"at least {goal:g}")
        for what, ratio in ratios.items()
    ]


def print_rows(report: Report, title: str, rows: list[Row], compared: list[Comparison]) -> None:
    """Print a table and the comparisons below it."""
    report.begin(title)
    loads = f"{'one client':>28}{f'{CLIENTS} clients':>30}"
    print(f"{'':<34}{loads}{'memory':>11}{'ready':>9}{'first':>11}")
    print(f"{'':<34}{'1/s':>8}{'p50':>10}{'p99':>10}" + f"{'1/s':>10}{'p50':>10}{'p99':>10}")
    for row in rows:
        speeds = "".join(
            f"{speed.rate:>{width}.1f}"
            + "".join(
                " " * 10 if math.isnan(time) else f"{time:>7.1f} ms"
                for time in (speed.p50, speed.p99)
            )
            for speed, width in ((row.one, 8), (row.many, 10))
        )
        memory = "" if row.memory is None else f"{row.memory:>8.0f} MB"
        ready = "" if row.ready is None else f"{row.ready:>7.2f} s"
        first = "" if row.first is None else f"{row.first:>8.1f} ms"
        print(f"{row.name:<34}{speeds}{memory}{ready}{first}")
        for clients, speed in ((1, row.one), (CLIENTS, row.many)):
            report.keep(f"{row.name}, {clients} clients, rate", speed.rate, "1/s")
            for name, taken in (("p50", speed.p50), ("p99", speed.p99)):
                if not math.isnan(taken):
                    report.keep(f"{row.name}, {clients} clients, {name}", taken, "ms")
        for name, value, unit in (
            ("memory", row.memory, "MB"),
            ("ready", row.ready, "s"),
            ("first answer", row.first, "ms"),
        ):
            if value is not None:
                report.keep(f"{row.name}, {name}", value, unit)
    for each in compared:
        report.add(each.name, each.value, each.unit, each.goal and f"goal: {each.goal}")


def measure_phone_photo(report: Report, bundle: Path) -> None:
    """Compare reading a photo of 24 megapixels with its bare decoding at the scale needed."""
    photo = draw_jpeg(6000, 4000)
    wanted = read_bundle(bundle).manifest.input
    side = choose_decoded_side(wanted.size, wanted.pixel_path)
    bare = measure(lambda: bound.decode(photo, wanted.crop_fraction, side))
    ours = measure(lambda: read_square(photo, **wanted.model_dump()))
    report.begin(f"A JPEG of 24 megapixels, {len(photo) / 1e6:.1f} MB, to {wanted.size} px")
    report.add("libjpeg-turbo alone, at the scale needed", bare.p50, "ms")
    report.add("decoded, turned, cut and resized here", ours.p50, "ms")
    report.add("ratio", ours.p50 / bare.p50, "", "goal: below 1.3")


def measure_embedded(report: Report, photo: bytes) -> None:
    """Measure the app with the model in this repository."""
    with tqdm(total=3, desc="Measuring", leave=False) as bar:
        bare = _count(bar, measure_bound("bound", EMBEDDED_BUNDLE, photo))
        ours = [_count(bar, row) for row in measure_app("this app", photo)]
    manifest = read_bundle(EMBEDDED_BUNDLE).manifest
    print_rows(
        report,
        f"{manifest.backbone} at {manifest.input.size} px, embedded ({manifest.version[:12]})",
        [bare, *ours],
        compare_with_bound("", ours, bare),
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
            bare = measure_bound(f"bound, {precision}", bundle, photo)
            rows.append(_count(bar, bare))
            for row in measure_app(f"this app, {precision}", photo, MODEL_URI=str(bundle)):
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
            *compare_with_bound("float32, ", [float32, floats32], bare),
            *compare_with_bound("int8, ", [int8, ints8], bare8),
            *compare_with_usual("float32, ", float32, once, 3),
            *compare_with_usual("int8, ", int8, once, 5),
            Comparison(
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
