"""The model in memory. No other module of `app` imports the inference runtime."""

import math
import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.admission import turn
from processing.bundle import ORIENTATIONS, SIGNATURE, Bundle, orient
from processing.manifest import Manifest, Modality, name_modality


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's result for one square."""

    probability: float  # calibrated, 0..1
    modality: Modality | None  # the kind of photo; None: the graph does not tell
    threshold: float  # of the operating point, for this kind
    malignant: bool  # the probability reaches the threshold
    outlier: bool  # too unlike the training images to be a lesion
    by_view: NDArray[np.float32]  # (V,), the probability of each orientation that was averaged
    cam: NDArray[np.float32]  # (h, w), what each location adds to the logit


class Range(NamedTuple):
    """Lowest and highest probability."""

    low: float
    high: float


class Classifier:
    """Runs the graph of one verified bundle, on one image at a time.

    The interpreter is not thread-safe, and batches are no faster on a CPU.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        """Load the graph and compare it with its golden images.

        Raises:
            BundleError: the graph cannot be run, or its results differ from those at its export.
        """
        self.manifest: Manifest = bundle.manifest
        self._lock = threading.Lock()

        def load_and_run(images: NDArray[np.uint8]) -> NDArray[np.floating]:
            interpreter = Interpreter(str(bundle.model_path), num_threads=threads)
            self._run = interpreter.get_signature_runner(SIGNATURE)
            return np.array([prediction.probability for prediction in self.classify(images)])

        bundle.check_golden(load_and_run)

    def classify(self, images: NDArray[np.uint8], deadline: float = math.inf) -> list[Prediction]:
        """Classify `images`: (N, S, S, 3) uint8, 0..255, RGB.

        Raises:
            BusyError: other requests kept the model busy until `deadline`, monotonic.
        """
        size = self.manifest.input.size
        if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise ValueError(
                f"images must be (N, {size}, {size}, 3) uint8. "
                f"Received: {images.shape} {images.dtype}"
            )
        return [self._classify_one(image, deadline) for image in images]

    def measure_stability(
        self, image: NDArray[np.uint8], first: Prediction, deadline: float = math.inf
    ) -> Range:
        """Find the lowest and highest probability over the eight orientations of a square.

        Args:
            image: (S, S, 3) uint8.
            first: its result from `classify`.
            deadline: as for `classify`.
        """
        by_view = [first.by_view]
        # The graph has looked at V of the eight; see `processing.bundle.VIEWS`.
        for k in range(1, ORIENTATIONS // len(first.by_view)):
            (oriented,) = orient(image[np.newaxis], k)
            by_view.append(self._classify_one(oriented, deadline).by_view)
        values = np.concatenate(by_view)
        return Range(float(values.min()), float(values.max()))

    def _classify_one(self, image: NDArray[np.uint8], deadline: float = math.inf) -> Prediction:
        with turn(self._lock, deadline):
            # Always a batch of one: another size would make the runtime allocate its memory again.
            outputs = self._run(images=image[np.newaxis])
        probability = float(outputs["probability"][0])
        modality = name_modality(outputs["modality"][0]) if "modality" in outputs else None
        evidence = self.manifest.choose(modality)
        threshold, outliers = evidence.in_force.threshold, evidence.outliers
        return Prediction(
            probability=probability,
            modality=modality,
            threshold=threshold,
            malignant=probability >= threshold,
            outlier=bool(outliers and outputs["distance"][0] > outliers.threshold),
            # Graphs that were exported earlier have no `by_view`.
            by_view=outputs["by_view"][0] if "by_view" in outputs else outputs["probability"],
            cam=outputs["cam"][0],
        )
