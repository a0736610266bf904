"""What a photo itself tells against judging it: too small, too dark, blurred.

The limits were set on photos of ISIC 2017, 2019 and 2020 (`python -m benchmarks.quality` measures
them anew): each refuses fewer than one in a hundred of those.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fault = Literal["too_small", "too_dark", "blurred"]

# Of 255, that one pixel in twenty reaches: in 1,886 of 1,887 of ISIC's photos it is 49 or more.
_DARK = 40
# Sharpness below which a photo counts as blurred. In ISIC's photos it is 0.40 or more, blurred by a
# Gaussian of one hundredth of the side (which hides a pigment network) at most 0.32.
_BLURRED = 0.32
_COARSE = 4  # pixels of the square to one of the coarse picture


def find_faults(
    square: NDArray[np.uint8], width: int, height: int, crop_fraction: float
) -> tuple[Fault, ...]:
    """Why a photo cannot be judged; empty where nothing tells against it.

    Args:
        square: (S, S, 3) uint8 RGB, the cut that the model sees.
        width, height: of the photo, pixels.
        crop_fraction: of the photo's smaller side that was cut.
    """
    if crop_fraction * min(width, height) < len(square) / 2:
        # More than half of each side would be made up by enlarging, which blurs, too.
        return ("too_small",)
    faults: list[Fault] = []
    if _find_level(Image.fromarray(square).convert("L"), 0.95) < _DARK:
        faults.append("too_dark")
    if measure_sharpness(square) < _BLURRED:
        faults.append("blurred")
    return tuple(faults)


def _find_level(grey: Image.Image, share: float) -> int:
    """The brightness that `share` of the pixels do not exceed."""
    return int(np.searchsorted(np.cumsum(grey.histogram()), share * grey.width * grey.height))


def measure_sharpness(square: NDArray[np.uint8]) -> float:
    """Mean brightness step between neighbours, as part of that in a picture a quarter of the size.

    A sharp photo has steps that are lost in the small picture; in a blurred one each step of the
    small picture is four small ones: 0.25. Contrast and brightness cancel out. 1.0 where the
    picture is of one colour.
    """
    grey = Image.fromarray(square).convert("L")
    coarse = grey.resize((len(square) // _COARSE,) * 2, Image.Resampling.BOX)
    fine_step, coarse_step = (_mean_step(np.asarray(each, np.float32)) for each in (grey, coarse))
    return fine_step / coarse_step if coarse_step else 1.0


def _mean_step(grey: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
