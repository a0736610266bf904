"""Checks of a photo's quality: too small, too dark or blurred, it cannot be judged.

The limits were set on photos of ISIC 2017, 2019 and 2020, of which each rejects fewer than one in a
hundred (`python -m benchmarks.quality` measures them again).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fault = Literal["too_small", "too_dark", "blurred"]

# Brightness, of 255, that one pixel in twenty must reach. In 1,886 of 1,887 photos it is 49 or
# more.
_DARK = 40
# Sharpness below which a photo counts as blurred. ISIC's photos have 0.40 or more, and at most 0.32
# after a Gaussian blur of one hundredth of the side, which hides a pigment network.
_BLURRED = 0.32
_COARSE = 4  # pixels of the square per pixel of the coarse picture


def find_faults(
    square: NDArray[np.uint8], width: int, height: int, crop_fraction: float
) -> tuple[Fault, ...]:
    """Find the reasons why a photo cannot be judged; empty if there are none.

    Args:
        square: (S, S, 3) uint8 RGB, which the model sees.
        width, height: size of the photo, pixels.
        crop_fraction: the square's side, as a fraction of the photo's smaller side.
    """
    if crop_fraction * min(width, height) < len(square) / 2:
        # The square was enlarged more than twofold, which also blurs it.
        return ("too_small",)
    faults: list[Fault] = []
    grey = Image.fromarray(square).convert("L")
    if _find_level(grey, 0.95) < _DARK:
        faults.append("too_dark")
    if measure_sharpness(grey) < _BLURRED:
        faults.append("blurred")
    return tuple(faults)


def _find_level(grey: Image.Image, share: float) -> int:
    """Return the brightness that `share` of the pixels do not exceed."""
    return int(np.searchsorted(np.cumsum(grey.histogram()), share * grey.width * grey.height))


def measure_sharpness(grey: Image.Image) -> float:
    """Return the mean brightness step between neighbours, relative to that at a quarter the side.

    A sharp photo has steps that are lost in the small picture. In a blurred one, four small steps
    make one step of the small picture: 0.25. Contrast and brightness cancel out. A picture of one
    colour has 1.0.
    """
    coarse = grey.resize((grey.width // _COARSE,) * 2, Image.Resampling.BOX)
    fine_step, coarse_step = (_find_mean_step(np.asarray(each)) for each in (grey, coarse))
    return fine_step / coarse_step if coarse_step else 1.0


def _find_mean_step(grey: NDArray[np.uint8]) -> float:
    return _find_mean_distance(grey[1:], grey[:-1]) + _find_mean_distance(grey[:, 1:], grey[:, :-1])


def _find_mean_distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    # In bytes throughout: as floating-point numbers it takes five times as long.
    return float((np.maximum(first, second) - np.minimum(first, second)).mean())
