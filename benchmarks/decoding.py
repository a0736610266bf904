"""Measure what the process that decodes costs: `python -m benchmarks.decoding [PHOTO…]`.

Sends photos to the app in turn with that process and without it, as it was before, and compares the
median of the pairs. Without PHOTO, lesions are drawn as a phone would send them: JPEGs of
12 megapixels.
"""

import io
import math
import statistics
import time
from pathlib import Path
from typing import Any

import click
from flask.testing import FlaskClient

from app.factory import create_app
from benchmarks.server import draw_jpeg
from benchmarks.tool import Report, benchmark
from config.settings import Settings
from processing import image
from processing.decoding.decoder import Decoder
from processing.framing import Square

PAIRS = 60
JSON = {"Accept": "application/json"}


class DecoderWithin(Decoder):
    """Decodes in this process."""

    def start(self) -> None:
        """Start nothing."""

    def read_square(self, data: bytes, *, deadline: float = math.inf, **wanted: Any) -> Square:
        """Cut a photo here."""
        return Square(*image.read_square(data, **wanted))


def make_client(decoder: Decoder) -> FlaskClient:
    """Make a client of an app whose model is loaded."""
    client = create_app(Settings(rate_limit="unlimited", log_level="ERROR"), decoder).test_client()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.1)
    return client


def time_request(client: FlaskClient, photo: bytes) -> float:
    """Measure the milliseconds of one request."""
    started = time.perf_counter()
    answer = client.post("/predict", data={"image": (io.BytesIO(photo), "photo.jpg")}, headers=JSON)
    milliseconds = (time.perf_counter() - started) * 1000
    assert answer.status_code == 200, answer.text
    return milliseconds


@benchmark(libraries=("flask", "pillow"))
@click.argument(
    "paths",
    nargs=-1,
    metavar="[PHOTO]...",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
)
def main(report: Report, paths: tuple[Path, ...]) -> None:
    """Measure and print."""
    photos = [path.read_bytes() for path in paths] or [draw_jpeg(4000, 3000)]
    with Decoder() as decoder:
        clients = make_client(DecoderWithin()), make_client(decoder)
        for photo in photos:
            for client in clients:
                time_request(client, photo)
            pairs = [tuple(time_request(client, photo) for client in clients) for _ in range(PAIRS)]
            within, apart = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(second / first for first, second in pairs)
            report.begin(f"A photo of {len(photo) / 1e6:.1f} MB; medians of {PAIRS} pairs")
            report.add("decoded within", within, "ms")
            report.add("decoded in a process of its own", apart, "ms")
            report.add("ratio", ratio)


if __name__ == "__main__":
    main()
