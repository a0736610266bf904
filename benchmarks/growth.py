"""How the app's rate grows: `python -m benchmarks.growth [--plot FILE]`.

It sends photos to the app with the embedded model, from 1 to 64 clients, of 0.1 to 20 MB, and to 1
to 4 workers. A client sends its next photo once it has its answer; where the app is full (503), it
waits as long as the app asks, like the page. Clients and app share the cores.
"""

import http.client
import io
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.server import Server, draw_jpeg, pack_form, serve
from benchmarks.tool import Report, benchmark

SECONDS = 5.0  # of each measurement
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
MEGABYTES = (0.1, 0.3, 1, 3, 10, 19.5)  # the app takes forms of up to 20
WORKERS = (1, 2, 3, 4)
USUAL_CLIENTS = 6  # for sizes and workers
# A single address would get 48 connections.
PROXY = {"TRUSTED_PROXIES": "1"}
PHOTO_SIZE = 1024  # pixels, for clients and workers


@dataclass(frozen=True)
class Point:
    """What a load of one kind gets."""

    load: float  # clients, MB or workers
    rate: float  # answers per second
    p50: float  # s, of the answers
    refused: float  # share of the requests that found the app full


def measure(server: Server, photo: bytes, clients: int, load: float) -> Point:
    """Have clients send a photo again and again for `SECONDS`."""
    body, headers = pack_form(photo)
    taken: list[float] = []
    refused: list[float] = []
    faults: list[str] = []
    end = time.perf_counter() + SECONDS

    def send(client: int) -> None:
        connection = server.connect()
        own = headers | {"X-Forwarded-For": f"10.0.0.{client}"}
        while (began := time.perf_counter()) < end and not faults:
            try:
                connection.request("POST", "/predict", body, own)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                faults.append(f"no answer: {error!r}")
                return
            done = time.perf_counter()
            if response.status == 200:
                taken.append(done - began)
            elif response.status == 503:
                refused.append(done)
                time.sleep(max(0.0, min(float(response.headers["Retry-After"]), end - done)))
            else:
                faults.append(f"status {response.status}")

    started = time.perf_counter()
    threads = [threading.Thread(target=send, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults or not taken:
        raise click.ClickException(f"The app failed: {', '.join(faults) or 'no answer in time'}.")
    seconds = time.perf_counter() - started
    share = len(refused) / (len(taken) + len(refused))
    return Point(load, len(taken) / seconds, float(np.median(taken)), share)


def make_photo(megabytes: float) -> bytes:
    """Draw a lesion with camera noise and as many pixels as make a file of that size."""

    def encode(side: int) -> bytes:
        with Image.open(io.BytesIO(draw_jpeg(side, side))) as drawn:
            pixels = np.asarray(drawn, np.float32)
        noise = np.random.default_rng(0).normal(0, 20, pixels.shape)
        noisy = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
        file = io.BytesIO()
        noisy.save(file, "JPEG", quality=95)
        return file.getvalue()

    sample = 512
    return encode(round(sample * math.sqrt(megabytes * 1e6 / len(encode(sample)))))


def measure_clients() -> Iterator[Point]:
    """Measure more and more clients, with one worker."""
    photo = draw_jpeg(PHOTO_SIZE, PHOTO_SIZE)
    with serve("wsgi:app", **PROXY) as server:
        for clients in CLIENTS:
            yield measure(server, photo, clients, clients)


def measure_sizes() -> Iterator[Point]:
    """Measure larger and larger photos, with one worker."""
    with serve("wsgi:app", **PROXY) as server:
        for megabytes in MEGABYTES:
            photo = make_photo(megabytes)
            yield measure(server, photo, USUAL_CLIENTS, len(photo) / 1e6)


def measure_workers() -> Iterator[Point]:
    """Measure more and more workers."""
    photo = draw_jpeg(PHOTO_SIZE, PHOTO_SIZE)
    for workers in WORKERS:
        with serve("wsgi:app", WEB_CONCURRENCY=str(workers), **PROXY) as server:
            yield measure(server, photo, USUAL_CLIENTS, workers)


PARTS = {
    "clients": (measure_clients, len(CLIENTS), "clients, one worker"),
    "sizes": (measure_sizes, len(MEGABYTES), f"MB per photo, {USUAL_CLIENTS} clients, one worker"),
    "workers": (measure_workers, len(WORKERS), f"workers, {USUAL_CLIENTS} clients"),
}


def draw_plot(points: dict[str, list[Point]], path: Path) -> None:
    """Draw the rate, and the median time of an answer, against each load."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(
        2, len(points), figsize=(3.6 * len(points), 5), sharex="col", squeeze=False
    )
    for (part, measured), (rates, times) in zip(points.items(), all_axes.T, strict=True):
        loads = [point.load for point in measured]
        rates.plot(loads, [point.rate for point in measured], "o-")
        times.plot(loads, [point.p50 for point in measured], "o-")
        for axes in (rates, times):
            if part != "workers":
                axes.set_xscale("log", base=2 if part == "clients" else 10)
            axes.set_ylim(0, 1.1 * axes.dataLim.y1)
            axes.grid(alpha=0.3)
        times.set_xlabel(PARTS[part][2])
        if part != "sizes":
            times.set_xticks(loads, [f"{load:g}" for load in loads])
    all_axes[0][0].set_ylabel("answers per second")
    all_axes[1][0].set_ylabel("median time of an answer, s")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


@benchmark(*PARTS, libraries=("ai-edge-litert", "gunicorn"))
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the results to this file."
)
def main(report: Report, parts: list[str], plot: Path | None) -> None:
    """Measure and print."""
    points: dict[str, list[Point]] = {}
    for part in parts:
        measure_part, number, title = PARTS[part]
        bar = tqdm(measure_part(), total=number, desc=f"Measuring {part}", leave=False)
        points[part] = list(bar)
        report.begin(title)
        for point in points[part]:
            report.add(f"{point.load:.3g}, answers", point.rate, "1/s")
            report.add("  median time of an answer", point.p50, "s")
            report.add("  refused, as the app was full", point.refused)
    if plot:
        draw_plot(points, plot)


if __name__ == "__main__":
    main()
