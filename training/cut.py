"""One source file -> the JPEG of its square. Imports no TensorFlow: it runs in worker processes."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from processing.image import ImageError, read_image_size, read_square
from training.errors import TrainingError

JPEG_QUALITY = 95


class Cut(NamedTuple):
    """What a TFRecord holds of one image."""

    jpeg: bytes  # of the (S, S, 3) square, quality 95, chroma 4:4:4
    width: int  # of the upright source, pixels
    height: int


def cut_jpeg(path: str, size: int, crop_fraction: float) -> Cut:
    """Cut the file with `processing.image.read_square` and encode the square.

    Raises:
        TrainingError: the file is absent or not a usable image.
    """
    try:
        square = read_square(Path(path).read_bytes(), size=size, crop_fraction=crop_fraction)
    except (ImageError, OSError) as error:
        raise TrainingError(f"{path}: {error}") from error
    buffer = io.BytesIO()
    Image.fromarray(square.pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return Cut(buffer.getvalue(), square.width, square.height)


def read_size(path: str) -> tuple[int, int]:
    """Width and height of the upright image, from the header alone.

    Raises:
        TrainingError: the file is absent or not a usable image.
    """
    try:
        return read_image_size(Path(path).read_bytes())
    except (ImageError, OSError) as error:
        raise TrainingError(f"{path}: {error}") from error
