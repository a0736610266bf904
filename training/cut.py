"""One source file -> the JPEG of its square. Imports no TensorFlow: it runs in worker processes."""

from pathlib import Path

from processing.image import Cut, ImageError, cut_square
from training.errors import TrainingError


def cut_file(path: str, size: int, crop_fraction: float) -> Cut:
    """Cut the file with `processing.image.cut_square`.

    Raises:
        TrainingError: the file is absent or not a usable image.
    """
    try:
        return cut_square(Path(path).read_bytes(), size=size, crop_fraction=crop_fraction)
    except (ImageError, OSError) as error:
        raise TrainingError(f"{path}: {error}") from error
