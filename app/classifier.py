"""The model in memory. The only importer of the inference runtime."""

import threading
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from processing.bundle import Bundle, BundleError, Manifest

_SIGNATURE = "serve"


@dataclass(frozen=True)
class Prediction:
    """What the model says of one square."""

    probability: float  # calibrated, 0..1
    malignant: bool  # the probability reaches the threshold in force
    outlier: bool  # unlike all that the model has learned from: no lesion
    cam: NDArray[np.float32]  # (h, w), what each location adds to the logit


class Classifier:
    """One verified bundle, its graph memory-mapped, one image at a time.

    The interpreter is not thread-safe, and batches don't pay on a CPU.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        """Load the graph and compare it with its golden images.

        Raises:
            BundleError: the graph cannot be run, or answers otherwise than when it was exported.
        """
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self._threshold = bundle.manifest.in_force.threshold
        self._outliers = bundle.manifest.outliers
        self._lock = threading.Lock()
        size = bundle.manifest.input.size
        try:
            interpreter = Interpreter(str(bundle.model_path), num_threads=threads)
            self._run = interpreter.get_signature_runner(_SIGNATURE)
            self._classify_one(np.zeros((size, size, 3), np.uint8))
        # ValueError, RuntimeError and KeyError: whatever the runtime makes of a graph that is not
        # of the contract.
        except (ValueError, RuntimeError, KeyError) as error:
            raise BundleError(
                f"{bundle.model_path} is not a graph that can be served: {error}"
            ) from error
        bundle.check_golden(lambda images: np.array([x.probability for x in self.classify(images)]))

    def classify(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """Predict for each of `images`: (N, S, S, 3) uint8, 0..255, RGB."""
        size = self.manifest.input.size
        if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise ValueError(
                f"images must be (N, {size}, {size}, 3) uint8. "
                f"Received: {images.shape} {images.dtype}"
            )
        return [self._classify_one(image) for image in images]

    def _classify_one(self, image: NDArray[np.uint8]) -> Prediction:
        with self._lock:
            # Of one image always: another batch size would make the runtime plan its memory anew.
            outputs = self._run(images=image[np.newaxis])
        probability = float(outputs["probability"][0])
        outlier = bool(self._outliers and outputs["distance"][0] > self._outliers.threshold)
        return Prediction(probability, probability >= self._threshold, outlier, outputs["cam"][0])
