"""Measure the cost of a build: `python -m benchmarks.build`.

Compares the build's images per second with the loop that the public notebooks use, and with a
bound: libjpeg-turbo alone, decoding at the scale that the cut needs and encoding the square.
`small` photos are as they are, `large` ones have 24 megapixels. `memory` compares that of the build
for few images and for ten times as many.
"""

import contextlib
import io
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image, JpegImagePlugin

from benchmarks.photos import draw_photos, list_photos
from benchmarks.tool import Report, benchmark
from processing import image as cutting
from processing.framing import Framing
from processing.strips import Strips
from training.commands.options import FOLDER

# TensorFlow, OpenCV and the build are imported inside functions: the build's worker processes
# import this module, and would wait for them.

SIZE, CROP = 384, 0.5  # of the preset 384
FRAMING = Framing(SIZE, CROP, cutting.DEFAULT_PATH)
ROUNDS = 3
DRAWN, DRAWN_SIDE = 128, 1024  # lesions to draw if there are no photos, and their side in pixels
# The size of ISIC 2020's photos in pixels; two pieces of the build, one for each of two processes.
LARGE, LARGE_COUNT = (6000, 4000), 128
LARGE_ORIGINALS = 64
MEMORY_COUNTS = 200, 2000
NOTEBOOK_QUALITY = 94

ONE, TWO = "our build, 1 process", "our build, 2 processes"
LOOP = "notebooks' loop: OpenCV, TFRecordWriter"
BOUND = "bound: libjpeg-turbo alone"
RESIZING = "bound with the cut's own resize"


class Variant(NamedTuple):
    """A photo to make: one of eight orientations of another, so that there are no duplicates."""

    original: Path
    number: int  # 0 is the original itself; from 8 on, a corner is cropped as well
    path: Path
    size: tuple[int, int] | None  # to enlarge to, pixels


def make_variants(
    originals: Sequence[Path], folder: Path, count: int, size: tuple[int, int] | None = None
) -> list[Path]:
    """Make `count` different photos of `originals` in `folder`, enlarged to `size` if given."""
    folder.mkdir()
    places = [divmod(k, len(originals)) for k in range(count)]
    variants = [
        Variant(originals[lesion], number, folder / f"{lesion:04d}_{number}.jpg", size)
        for number, lesion in places
    ]
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(write_variant, variants)
    return [variant.path for variant in variants]


def write_variant(variant: Variant) -> None:
    """Write one photo; unless it is enlarged, it keeps the JPEG tables of its original."""
    if variant.number == 0 and variant.size is None:
        shutil.copyfile(variant.original, variant.path)
        return
    with JpegImagePlugin.JpegImageFile(variant.original) as image:
        cut, turn = divmod(variant.number, 8)
        left = 0.85**cut
        photo = image.convert("RGB").crop((0, 0, int(image.width * left), int(image.height * left)))
        if turn:
            photo = photo.transpose(Image.Transpose(turn - 1))
        if variant.size:
            photo.resize(variant.size).save(variant.path, quality=90)
        else:
            sampling = JpegImagePlugin.get_sampling(image)
            photo.save(variant.path, qtables=image.quantization, subsampling=sampling)


def measure_round(photos: Sequence[Path]) -> dict[str, float]:
    """Measure the images per second of each contestant over the same photos, in turn."""
    seconds = {ONE: time_build(photos, 1), TWO: time_build(photos, 2)}
    seconds[LOOP] = time_notebook_loop(photos)
    seconds[BOUND], seconds[RESIZING] = time_bound(photos)
    return {name: len(photos) / value for name, value in seconds.items()}


def time_build(photos: Sequence[Path], processes: int) -> float:
    """Measure the seconds that `python -m training build` takes, without its imports."""
    from etils import epath

    from training.build.build import build_folders
    from training.build.sources import read_sources
    from training.data.folder import BuildSettings
    from training.data.vocabulary import TARGETS

    listing_path = photos[0].parent / f"{len(photos)}.csv"
    list_photos(photos, listing_path)
    listing = read_sources(TARGETS["melanoma"], csv=[epath.Path(listing_path)])
    settings = BuildSettings(size=SIZE, crop_fraction=CROP, shards=15, seed=0)
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        built = build_folders(
            listing, [], [settings], epath.Path(folder) / "out", processes=processes
        )
        seconds = time.perf_counter() - started
    dropped = len(photos) - sum(one.images for one in built.values())
    assert dropped < 0.02 * len(photos), f"{dropped} photos were dropped"
    return seconds


def time_notebook_loop(photos: Sequence[Path]) -> float:
    """Measure the seconds of the loop that made the public TFRecord sets."""
    import cv2
    import tensorflow as tf

    def wrap(value: bytes | int) -> Any:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        with tf.io.TFRecordWriter(f"{folder}/train.tfrec") as writer:
            for path in photos:
                image = cv2.imread(str(path))
                assert image is not None
                height, width = image.shape[:2]
                side = int(CROP * min(height, width))
                top, left = (height - side) // 2, (width - side) // 2
                centre = image[top : top + side, left : left + side]
                square = cv2.resize(centre, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                _, jpeg = cv2.imencode(".jpg", square, (cv2.IMWRITE_JPEG_QUALITY, NOTEBOOK_QUALITY))
                case = {
                    "image": jpeg.tobytes(), "image_name": path.stem.encode(), "patient_id": 0,
                    "sex": 0, "age_approx": 50, "anatom_site_general_challenge": 0,
                    "diagnosis": 0, "target": 0, "width": width, "height": height,
                }  # fmt: skip
                features = {name: wrap(value) for name, value in case.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return time.perf_counter() - started


def time_bound(photos: Sequence[Path]) -> tuple[float, float]:
    """Measure the seconds of decoding and encoding in one thread, without and with the resize.

    Reading the files and all copies between the steps are left out.
    """
    import simplejpeg

    decoding = resizing = encoding = 0.0
    for path in photos:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            cutting._choose_scale(image, FRAMING)
            width, height = image.size
        started = time.perf_counter()
        pixels = simplejpeg.decode_jpeg(data, min_width=width, min_height=height)
        decoding += time.perf_counter() - started
        photo = Image.fromarray(pixels)
        started = time.perf_counter()
        resized = cutting._cut_centre(Strips(photo.size, photo.crop), FRAMING)
        resizing += time.perf_counter() - started
        square = np.asarray(resized)
        started = time.perf_counter()
        simplejpeg.encode_jpeg(square, cutting.JPEG_QUALITY, "RGB", "444")
        encoding += time.perf_counter() - started
    return decoding + encoding, decoding + resizing + encoding


def measure_memory(photos: Sequence[Path]) -> float:
    """Measure the peak PSS of all processes of the build command with two workers, in MB."""
    listing = photos[0].parent / f"{len(photos)}.csv"
    list_photos(photos, listing)
    with TemporaryDirectory() as folder:
        command = f"build --csv {listing} --preset 384 --processes 2 --out {folder}/out"
        process = subprocess.Popen(
            [sys.executable, "-m", "training", *command.split()],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(map(read_pss_mb, list_processes(process.pid))))
            time.sleep(0.05)
    assert process.returncode == 0, f"{command} failed"
    return peak


def list_processes(pid: int) -> Iterator[int]:
    """List a process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from list_processes(int(child))


def read_pss_mb(pid: int) -> float:
    """Read the PSS of a process in MB; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def print_rates(report: Report, photos: Sequence[Path], loop_goal: float) -> None:
    """Measure several rounds over `photos`, and print the medians of their rates and ratios."""
    measure_round(photos[:32])  # imports, and other work of the first call
    rounds = [measure_round(photos) for _ in range(ROUNDS)]
    for name in rounds[0]:
        report.add(name, statistics.median(rates[name] for rates in rounds), "images/s")
    for over, under, goal in (
        (ONE, BOUND, "goal 0.9"),
        (ONE, RESIZING, "what these pixels allow"),
        (TWO, ONE, "goal 1.8"),
        (ONE, LOOP, f"goal {loop_goal}"),
    ):
        ratio = statistics.median(rates[over] / rates[under] for rates in rounds)
        report.add(f"{over.partition(',')[2][1:]} / {under.partition(':')[0]}", ratio, "", goal)


@benchmark(
    "small", "large", "memory",
    libraries=("pillow", "simplejpeg", "opencv-python-headless", "tensorflow"),
)  # fmt: skip
@click.option(
    "--images",
    type=FOLDER,
    default=Path("../shared/data/isic2019-original/ISIC_2019_Training_Input"),
    show_default=True,
    help="Folder of full-size JPEGs; if it does not exist, photos are drawn.",
)
@click.option("--count", type=click.IntRange(64), default=2048, show_default=True)
def main(report: Report, parts: list[str], images: Path, count: int) -> None:
    """Measure and print."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        originals = sorted(images.glob("*.jpg")) or draw_photos(folder, DRAWN, DRAWN_SIDE)
        kind = f"of {len(originals)} {'photos' if images.is_dir() else 'drawn photos'}"
        if {"small", "memory"} & {*parts}:
            small = make_variants(originals, folder / "small", max(count, MEMORY_COUNTS[-1]))
        if "small" in parts:
            report.begin(
                f"{count} {kind}, turned and mirrored, {_mean_kb(small[:count]):.0f} kB each"
            )
            print_rates(report, small[:count], loop_goal=1)
        if "large" in parts:
            some = originals[:: max(1, len(originals) // LARGE_ORIGINALS)][:LARGE_ORIGINALS]
            photos = make_variants(some, folder / "large", LARGE_COUNT, LARGE)
            width, height = LARGE
            report.begin(f"{LARGE_COUNT} of {width} x {height} px, {_mean_kb(photos):.0f} kB each")
            print_rates(report, photos, loop_goal=2.5)
        if "memory" in parts:
            report.begin("Peak PSS of the command with 2 worker processes")
            few, many = (measure_memory(small[:n]) for n in MEMORY_COUNTS)
            report.add(f"{MEMORY_COUNTS[0]} images", few, "MB")
            report.add(f"{MEMORY_COUNTS[1]} images", many, "MB")
            report.add("ratio", many / few, "", "goal: flat")


def _mean_kb(photos: Sequence[Path]) -> float:
    return statistics.mean(path.stat().st_size for path in photos) / 1e3


if __name__ == "__main__":
    main()
