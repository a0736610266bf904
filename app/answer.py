"""From a photo to what is said of it: the same for the page, the API and the command line."""

import math
import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.admission import turn
from app.classifier import Classifier, Range
from app.metrics import stage
from app.quality import Fault, find_faults
from processing.image import read_square

Reason = Literal[Fault, "not_a_lesion"]
Label = Literal["malignant", "benign"]

# A large PNG takes 150 MB and more while it is decoded, and a small host has 512: one at a time.
_decoding = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What is said of one photo. Without a label where the photo cannot be judged."""

    square: NDArray[np.uint8]  # (S, S, 3), what the model saw
    reasons: tuple[Reason, ...]  # why it cannot be judged; empty where it can
    probability: float | None  # what the model says all the same; None where it was not asked
    label: Label | None
    stability: Range | None  # over the photo's orientations; None where it was not asked for
    uncertain: bool  # some orientations reach the threshold and others don't
    cam: NDArray[np.float32] | None  # (h, w), what each location adds to the logit

    @property
    def assessable(self) -> bool:
        """Whether there is a label."""
        return not self.reasons


def answer_photo(
    data: bytes, classifier: Classifier, *, stability: bool = False, deadline: float = math.inf
) -> Answer:
    """Decode, cut and classify one photo.

    Args:
        stability: also look at it in all its orientations, which takes some times as long.
        deadline: monotonic seconds.

    Raises:
        ImageError: the photo cannot be read.
        BusyError: it could not be answered before the deadline.
    """
    wanted = classifier.manifest.input
    with stage("decode"), turn(_decoding, deadline):
        square = read_square(data, size=wanted.size, crop_fraction=wanted.crop_fraction)
    pixels = square.pixels
    faults = find_faults(pixels, square.width, square.height, wanted.crop_fraction)
    if "too_small" in faults:
        return Answer(pixels, faults, None, None, None, False, None)
    with stage("infer"):
        prediction = classifier.classify(pixels[np.newaxis], deadline)[0]
    reasons: tuple[Reason, ...] = (*faults, "not_a_lesion") if prediction.outlier else faults
    if reasons:
        return Answer(pixels, reasons, prediction.probability, None, None, False, None)
    seen = None
    if stability:
        with stage("stability"):
            seen = classifier.measure_stability(pixels, prediction, deadline)
    return Answer(
        pixels,
        (),
        prediction.probability,
        "malignant" if prediction.malignant else "benign",
        seen,
        seen is not None and seen.low < classifier.manifest.in_force.threshold <= seen.high,
        prediction.cam,
    )
