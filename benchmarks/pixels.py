"""What reading one photo costs: `python -m benchmarks.pixels`.

Milliseconds of `processing.image.read_square` by each pixel path, beside the bound: libjpeg-turbo
decoding at the smallest scale of its own that is no smaller than the cut needs, and nothing else.
"""

import io
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.tool import Report, benchmark
from processing.drawing import draw_lesion
from processing.image import DEFAULT_PATH, PIXEL_PATHS, read_square

SQUARES = (224, 1.0), (224, 0.6), (384, 0.5)  # size and crop
# Width and height of the photo, and the largest ratio to the bound that the default path may have.
PHOTOS = {
    "1024x1024": (1024, 1024, 1.5),
    "4000x3000": (4000, 3000, 1.3),
    "6000x4000": (6000, 4000, 1.3),
}
ROUNDS = 15
_GRAIN = 6.0  # standard deviation of the noise of a photo, of 255
_BOUND = "libjpeg-turbo alone"


def draw_grainy_photo(width: int, height: int) -> bytes:
    """A drawn lesion with a sensor's noise, so that its JPEG is as large as a photo's."""
    lesion = Image.fromarray(draw_lesion(1, 512, irregular=True)).resize((width, height))
    noise = np.random.default_rng(0).normal(0, _GRAIN, (height, width, 1))
    photo = np.clip(np.asarray(lesion) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=90)
    return file.getvalue()


def decode_alone(photo: bytes, width: int, height: int, size: int, crop_fraction: float) -> None:
    """Decode at the smallest of libjpeg-turbo's scales that leaves the crop as large as the cut."""
    scale = size / (crop_fraction * min(width, height))
    simplejpeg.decode_jpeg(
        photo,
        min_width=min(width, math.ceil(width * scale)),
        min_height=min(height, math.ceil(height * scale)),
        min_factor=1,
        fastdct=False,  # as Pillow decodes
        fastupsample=False,
    )


def measure(
    photo: bytes, width: int, height: int, size: int, crop: float
) -> dict[str, list[float]]:
    """Seconds of processor time of each contestant, in turn, `ROUNDS` times."""
    contestants: dict[str, Callable[[], object]] = {
        _BOUND: lambda: decode_alone(photo, width, height, size, crop)
    }
    for path in PIXEL_PATHS:
        contestants[f"path {path}"] = lambda path=path: read_square(  # type: ignore[misc]
            photo, size=size, crop_fraction=crop, pixel_path=path
        )
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    return seconds


@benchmark(*PHOTOS, libraries=("pillow", "simplejpeg"))
def main(report: Report, parts: list[str]) -> None:
    """Measure and print: the bound, then the median ratio of each path to it."""
    for part in parts:
        width, height, largest = PHOTOS[part]
        photo = draw_grainy_photo(width, height)
        report.begin(
            f"{part} px, {len(photo) / 1e3:.0f} kB: ms of one core; medians of {ROUNDS} rounds"
        )
        for size, crop in SQUARES:
            seconds = measure(photo, width, height, size, crop)
            bound = seconds.pop(_BOUND)
            where = f"centre {crop:.0%} to {size} px"
            report.add(f"{where}: {_BOUND}", 1e3 * statistics.median(bound), "ms")
            for name, each in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(each, bound, strict=True))
                goal = f"goal: at most {largest}" if name == f"path {DEFAULT_PATH}" else ""
                report.add(f"{where}: {name} / alone", ratio, "", goal)


if __name__ == "__main__":
    main()
