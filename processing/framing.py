"""What is cut from a photo. Imports no decoder, so that a process can ask another to decode."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Framing(NamedTuple):
    """Which square is cut from a photo, and how: the arguments of `processing.image.cut_square`."""

    size: int
    crop_fraction: float
    pixel_path: int


class Square(NamedTuple):
    """The cut as a model sees it, and the size of the photo it was cut from."""

    pixels: NDArray[np.uint8]  # (S, S, 3) RGB, 0..255
    width: int  # of the upright photo, pixels
    height: int
