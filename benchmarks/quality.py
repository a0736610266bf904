"""Measure what the app's quality rules refuse: `python -m benchmarks.quality FOLDER…`.

First counts the photos of each folder that are too small, too dark or blurred. Then blurs all
photos, and compares how many of them our sharpness and the variance of the Laplacian (Pech-Pacheco
et al. 2000) find, each at the limit that refuses one in a hundred of all sharp photos.
"""

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from app.quality import find_faults, measure_sharpness
from benchmarks.tool import Report, benchmark
from processing.image import read_square

SIZE = 224
BLURS = (0.005, 0.01)  # standard deviation of the Gaussian, as a fraction of the side
REFUSED = 0.01  # share of the sharp photos at which both measures are compared


@benchmark(libraries=("pillow",))
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--crop", type=click.FloatRange(0, 1, min_open=True), default=0.6, show_default=True,
    help="1.0 for photos that are squares.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(10), default=400, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(report: Report, folders: tuple[Path, ...], crop: float, count: int, seed: int) -> None:
    """Measure the photos in and below each FOLDER."""
    sharpness, variance = [], []
    for folder in folders:
        paths = sorted(folder.rglob("*.jpg"))
        if not paths:
            raise click.ClickException(f"{folder}: no .jpg in or below it.")
        chosen = np.random.default_rng(seed).permutation(len(paths))[:count]
        faults: list[str] = []
        for i in tqdm(chosen, desc=folder.name, unit=" photos", mininterval=1):
            square = read_square(paths[i].read_bytes(), size=SIZE, crop_fraction=crop)
            faults += find_faults(square.pixels, square.width, square.height, crop)
            photo = Image.fromarray(square.pixels)
            pictures = [photo, *(_blur(photo, blur) for blur in BLURS)]
            seen = [picture.convert("L") for picture in pictures]
            sharpness.append([measure_sharpness(each) for each in seen])
            variance.append([_laplacian_variance(each) for each in seen])
        report.begin(f"{folder}, {len(chosen)} photos: share that is refused")
        for fault in ("too_small", "too_dark", "blurred"):
            report.add(fault, 100 * faults.count(fault) / len(chosen), "%")
    report.begin(f"Blurred photos that are found; {REFUSED:.0%} of the sharp ones are refused")
    for blur, ours, usual in zip(BLURS, _find(sharpness), _find(variance), strict=True):
        name = f"blurred by {blur:.1%} of the side"
        report.add(name, 100 * ours, "%")
        report.add(f"{name}, by the variance of the Laplacian", 100 * usual, "%")
        report.add("  ratio", ours / max(usual, 1e-9))


def _blur(photo: Image.Image, blur: float) -> Image.Image:
    return photo.filter(ImageFilter.GaussianBlur(blur * photo.width))


def _laplacian_variance(picture: Image.Image) -> float:
    grey = np.asarray(picture, np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((4 * grey[1:-1, 1:-1] - around).var())


def _find(measured: list[list[float]]) -> list[float]:
    """Return the share at each blur that lies below the `REFUSED` quantile of the sharp photos."""
    sharp, *blurred = np.transpose(measured)
    return [float((each < np.quantile(sharp, REFUSED)).mean()) for each in blurred]


if __name__ == "__main__":
    main()
