"""From a photo to its result, which is the same for the page, the API and the command line."""

import logging
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.admission import BusyError
from app.classifier import Classifier, Range
from app.metrics import stage
from app.quality import Fault, find_faults
from app.verdict import Verdict, reach_verdict
from processing.decoding.decoder import Decoder, DecoderBusyError, DecoderDownError
from processing.manifest import Modality

Reason = Literal[Fault, "not_a_lesion"]
ClassName = Literal["malignant", "benign"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result for one photo; `label` is None where the photo cannot be judged."""

    square: NDArray[np.uint8]  # (S, S, 3), what the model saw
    reasons: tuple[Reason, ...] = ()  # why the photo cannot be judged
    probability: float | None = None  # None where the model was not run
    modality: Modality | None = None  # None where it was not run, or does not tell kinds apart
    threshold: float | None = None  # None where it was not run
    label: ClassName | None = None
    verdict: Verdict | None = None
    stability: Range | None = None  # over the photo's orientations; None where not asked for
    uncertain: bool = False  # some orientations reach the threshold and others don't
    cam: NDArray[np.float32] | None = None  # (h, w), what each location adds to the logit

    @property
    def assessable(self) -> bool:
        """Whether there is a label."""
        return not self.reasons


def answer_photo(
    data: bytes,
    decoder: Decoder,
    classifier: Classifier,
    *,
    stability: bool = False,
    deadline: float = math.inf,
) -> Answer:
    """Decode, cut and classify one photo.

    Args:
        stability: also classify all its orientations, which takes several times as long.
        deadline: monotonic seconds.

    Raises:
        ImageError: the photo cannot be read.
        BusyError: the deadline passed before it was classified, or nothing can be decoded now.
    """
    wanted = classifier.manifest.input
    with stage("decode"):
        try:
            square = decoder.read_square(data, **wanted.model_dump(), deadline=deadline)
        except DecoderBusyError as error:
            raise BusyError from error
        except DecoderDownError as error:
            logger.error("%s", error)
            raise BusyError from error
    pixels = square.pixels
    faults = find_faults(pixels, square.width, square.height, wanted.crop_fraction)
    if "too_small" in faults:
        return Answer(square=pixels, reasons=faults)
    with stage("infer"):
        prediction = classifier.classify(pixels[np.newaxis], deadline)[0]
    threshold = prediction.threshold
    evidence = classifier.manifest.choose(prediction.modality)
    answer = Answer(
        square=pixels,
        reasons=(*faults, "not_a_lesion") if prediction.outlier else faults,
        probability=prediction.probability,
        modality=prediction.modality,
        threshold=threshold,
    )
    if not answer.assessable:
        return answer
    orientations = None
    if stability:
        with stage("stability"):
            orientations = classifier.measure_stability(pixels, prediction, deadline)
    uncertain = orientations is not None and orientations.low < threshold <= orientations.high
    return replace(
        answer,
        label="malignant" if prediction.malignant else "benign",
        verdict=reach_verdict(prediction.probability, evidence, uncertain=uncertain),
        stability=orientations,
        uncertain=uncertain,
        cam=prediction.cam,
    )
