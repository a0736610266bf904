"""From a photo to what is said of it: the same for the page, the API and the command line."""

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.classifier import Classifier
from processing.image import Square, read_square

Reason = Literal["too_small", "not_a_lesion"]

# A large PNG takes 150 MB and more while it is decoded, and a small host has 512: one at a time.
_decoding = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What is said of one photo. Without a label where the photo cannot be judged."""

    square: NDArray[np.uint8]  # (S, S, 3), what the model saw
    reasons: tuple[Reason, ...]  # why it cannot be judged; empty where it can
    probability: float | None  # what the model says all the same; None where it was not asked
    label: Literal["malignant", "benign"] | None
    cam: NDArray[np.float32] | None  # (h, w), what each location adds to the logit

    @property
    def assessable(self) -> bool:
        """Whether there is a label."""
        return not self.reasons


def answer_photo(data: bytes, classifier: Classifier) -> Answer:
    """Decode, cut and classify one photo.

    Raises:
        ImageError: the photo cannot be read.
    """
    wanted = classifier.manifest.input
    with _decoding:
        square = read_square(data, size=wanted.size, crop_fraction=wanted.crop_fraction)
    if _is_too_small(square, wanted.size, wanted.crop_fraction):
        return Answer(square.pixels, ("too_small",), None, None, None)
    prediction = classifier.classify(square.pixels[np.newaxis])[0]
    if prediction.outlier:
        return Answer(square.pixels, ("not_a_lesion",), prediction.probability, None, None)
    label: Literal["malignant", "benign"] = "malignant" if prediction.malignant else "benign"
    return Answer(square.pixels, (), prediction.probability, label, prediction.cam)


def _is_too_small(square: Square, size: int, crop_fraction: float) -> bool:
    """Whether more than half of each side of the model's input would be made up by enlarging."""
    return crop_fraction * min(square.width, square.height) < size / 2
