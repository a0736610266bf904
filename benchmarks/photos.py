"""Photos to measure with, the CSV list that a build reads, and a description of the machine."""

import csv
import multiprocessing
import os
import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from processing.drawing import draw_lesion


def draw_photos(folder: Path, count: int, side: int) -> list[Path]:
    """Draw `count` different lesions into `folder`, JPEGs of `side` x `side` pixels."""
    paths = [folder / f"{seed:04d}.jpg" for seed in range(count)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.starmap(partial(_draw, side=side), enumerate(paths))
    return paths


def list_photos(paths: Sequence[Path], listing: Path) -> None:
    """Write a CSV list of photos that lie beside it; every second lesion is positive.

    Photos are named LESION.jpg or LESION_NUMBER.jpg.
    """
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "target", "lesion_id"))
        for path in paths:
            lesion = path.stem.partition("_")[0]
            writer.writerow((path.name, int(lesion) % 2, lesion))


def describe_machine(*libraries: str) -> str:
    """Describe the processor, the system, Python and the versions of `libraries`."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def _draw(seed: int, path: Path, side: int) -> None:
    lesion = draw_lesion(seed, side, irregular=bool(seed % 2))
    Image.fromarray(lesion).save(path, quality=90)
