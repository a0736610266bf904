"""Measure the cost of the training input: `python -m benchmarks.input [--data DIR]`.

Compares the images per second of the trainer's pipeline (read, shuffle, decode, augment, batch)
with the same pipeline augmented by Keras's preprocessing layers, and with decoding alone.
"""

import contextlib
import io
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from etils import epath

from benchmarks.photos import draw_photos, list_photos
from benchmarks.tool import Report, benchmark
from training.commands.options import DATA
from training.data.folder import BuildSettings, Data, read_data

# TensorFlow is imported inside functions: worker processes import this module without needing it.

DRAWN, DRAWN_SIDE = 128, 512  # lesions to draw, and their side in pixels
SQUARES = {"224": (224, 0.6), "384": (384, 0.5)}  # size and crop of the two presets
BATCH_SIZE = 32
ROUNDS, ROUND_SECONDS = 3, 3.0
EPOCHS = 1000  # more than a round sees
WARM_UP_BATCHES = 8

OURS, KERAS, DECODE = "our pipeline", "with Keras's layers", "decoding alone"


def build_drawn(
    folder: Path, count: int, side: int, squares: Sequence[tuple[int, float]]
) -> list[epath.Path]:
    """Build a data folder of `count` drawn lesions for each size and crop of `squares`.

    Args:
        side: side of the drawn photos in pixels.
    """
    from training.build.build import build_folders
    from training.build.sources import read_sources
    from training.data.vocabulary import TARGETS

    listing_path = folder / "drawn.csv"
    list_photos(draw_photos(folder, count, side), listing_path)
    listing = read_sources(TARGETS["melanoma"], csv=[epath.Path(listing_path)])
    settings = [
        BuildSettings(size=size, crop_fraction=crop, shards=15, seed=0) for size, crop in squares
    ]
    with contextlib.redirect_stderr(io.StringIO()):
        return list(build_folders(listing, [], settings, epath.Path(folder) / "out"))


def make_pipelines(data: Data) -> dict[str, Iterable[object]]:
    """Make endless batches for each contestant."""
    import tensorflow as tf

    from training.data import batches
    from training.data.strata import draw_all
    from training.recipe import Augmentation

    size, strength = data.build.settings.size, Augmentation()
    feeding = batches.Feeding(
        size=size,
        batch_size=BATCH_SIZE,
        steps_per_epoch=data.build.images // BATCH_SIZE,
        epochs=EPOCHS,
        augmentation=strength,
        positive_weight=1.0,
        draw=draw_all(data.cases),
        diagnosis=False,
        seed=0,
    )
    shuffled = batches.read_records(data.shards()).shuffle(batches.SHUFFLE_RECORDS, seed=0).repeat()
    decoded = batches.decode_records(shuffled, size, BATCH_SIZE)
    # What is off by default, Keras has no layer for or none that draws the same.
    off = {name for name, value in strength if value == 0}
    augment = make_keras_layers(**strength.model_dump(exclude=off))
    layered = decoded.map(
        lambda batch: (augment(batch["image"], training=True), batch["target"]),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return {
        OURS: batches.make_training_dataset(data, data.cases, feeding),
        KERAS: layered.prefetch(tf.data.AUTOTUNE),
        DECODE: decoded.prefetch(tf.data.AUTOTUNE),
    }


def make_keras_layers(
    *, rotation_degrees: float, shear_degrees: float, zoom: float, shift: float, flips: bool,
    brightness: float, contrast: float, saturation: float,
) -> Any:  # fmt: skip
    """Make Keras's layers for the strengths of an `Augmentation`."""
    from keras import layers

    return layers.Pipeline(
        [
            *([layers.RandomFlip()] if flips else []),
            layers.RandomRotation(rotation_degrees / 360),
            layers.RandomShear(x_factor=math.tan(math.radians(shear_degrees))),
            layers.RandomZoom(zoom),
            layers.RandomTranslation(shift, shift),
            # A factor f multiplies the distance from grey by f / (1 - f); 1/2 keeps it.
            layers.RandomSaturation(
                ((1 - saturation) / (2 - saturation), (1 + saturation) / (2 + saturation))
            ),
            layers.RandomContrast(contrast),
            layers.RandomBrightness(brightness),
        ]
    )


def measure(pipeline: Iterable[object], batch_size: int) -> float:
    """Measure the images per second over `ROUND_SECONDS`, after a warm-up."""
    batches = iter(pipeline)
    for _ in range(WARM_UP_BATCHES):
        next(batches)
    started, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < ROUND_SECONDS:
        next(batches)
        count += batch_size
    return count / seconds


def print_rates(report: Report, data: Data) -> None:
    """Measure several rounds, and print the medians of their rates and ratios."""
    pipelines = make_pipelines(data)
    rounds = [
        {name: measure(pipeline, BATCH_SIZE) for name, pipeline in pipelines.items()}
        for _ in range(ROUNDS)
    ]
    report.begin(
        f"{data.build.images} records of {data.build.settings.size} px, batches of {BATCH_SIZE}; "
        f"medians of {ROUNDS} rounds of {ROUND_SECONDS:.0f} s"
    )
    for name in pipelines:
        report.add(name, statistics.median(rates[name] for rates in rounds), "images/s")
    for other in (KERAS, DECODE):
        ratio = statistics.median(rates[OURS] / rates[other] for rates in rounds)
        report.add(f"{OURS} / {other}", ratio)


data_option = click.option("--data", type=DATA, help="A data folder.  [default: drawn lesions]")


@benchmark(*SQUARES, libraries=("tensorflow", "keras"))
@data_option
def main(report: Report, parts: list[str], data: epath.Path | None) -> None:
    """Measure and print."""
    with TemporaryDirectory() as folder:
        squares = [SQUARES[part] for part in parts]
        drawn = [] if data else build_drawn(Path(folder), DRAWN, DRAWN_SIDE, squares)
        for found in [data] if data else drawn:
            print_rates(report, read_data(found))


if __name__ == "__main__":
    main()
