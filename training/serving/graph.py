"""The serving graph: averaged folds and orientations, calibration, activation map and embedding."""

import functools
import os
import tempfile
import threading
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tqdm import tqdm

from processing.bundle import GOLDEN_TOLERANCE, SIGNATURE, VIEWS
from processing.manifest import Calibration, EvidenceByModality
from training.errors import TrainingError
from training.serving.modality import ModalityHead
from training.serving.outliers import Normal
from training.train.predict import orient, turn_back

Precision = Literal["float32", "float16", "int8"]
# These stages still describe any picture, lesion or not. The last features keep only what separates
# melanoma from nevi, and photos of anything fall among those of lesions (docs/experiments.md).
_EMBEDDED_STAGES = ("block6", "block7")
# int8 keeps in floating point everything but convolutions and their sums, and also the small first
# stages. The logits of a Lite0 are then off by 0.2 (standard deviation, 1,500 images); they are off
# by 0.5 with the first stages in int8, and by 1.8 with everything in int8.
_KEPT_STAGES = ("stem", "block1", "block2")
_KEPT_FLOAT = [
    "MEAN", "FULLY_CONNECTED", "BATCH_MATMUL", "LOGISTIC", "CONCATENATION", "SPLIT",
    "STRIDED_SLICE", "SUB", "MUL", "DIV", "SQUARE", "SQUARED_DIFFERENCE", "SUM", "ADD_N",
    "TRANSPOSE", "RESHAPE", "REVERSE_V2", "PACK", "MINIMUM", "LESS",
]  # fmt: skip


class ServingGraph:
    """The computation of a bundle's graph.

    (B, S, S, 3) uint8 RGB -> probability (B,), logit (B,), by_view (B, V), the probability from
    each orientation alone, cam (B, h, w), the class activation map, embedding (B, D), distance
    (B,) of the embedding from those of training images, and modality (B,), the probability that the
    photo is dermoscopic, which decides on the calibration.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        views: int = 1,
        evidence: EvidenceByModality | None = None,
        normal: Normal | None = None,
        head: ModalityHead | None = None,
        centre: float | None = None,
    ) -> None:
        """Join the models of some folds.

        Args:
            models: each (B, S, S, 3) float, 0..255 -> logit (B, 1).
            views: number of orientations of a photo to average, a key of `VIEWS`.
            evidence: its calibration, of the mean logit; None: the probability is not calibrated.
            normal: reference of the distance; None: the graph returns no distance.
            head: tells the kind of photo; None: the graph does not.
            centre: the locations' features are pooled with the weights of `weigh_locations`; None:
                all alike, as in training.
        """
        self.size: int = models[0].input_shape[1]
        self._views = VIEWS[views]
        self._evidence, self._normal, self._head = evidence, normal, head
        self._models = [_give_inner_outputs(model, i == 0) for i, model in enumerate(models)]
        self._last = [model.get_layer("logit").get_weights() for model in models]
        self._weights = None
        if centre is not None:
            _, height, width, _ = self._models[0].output["features"].shape
            self._weights = weigh_locations(height, width, centre)[..., None]
        spec = tf.TensorSpec((None, self.size, self.size, 3), tf.uint8, name="images")
        self.serve = tf.function(self._serve, input_signature=[spec])

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        views = len(self._views)
        # In one batch, because the converter writes the weights once for each call of a model.
        oriented = tf.concat([orient(images, view) for view in self._views], 0)
        pixels = tf.cast(oriented, tf.float32)
        logits, maps = [], []
        for model, (kernel, bias) in zip(self._models, self._last, strict=True):
            outputs = model(pixels, training=False)
            features = outputs["features"]
            if self._weights is not None:
                features *= tf.cast(self._weights, features.dtype)
            pooled = tf.cast(tf.reduce_mean(features, (1, 2)), tf.float32)
            logits += tf.split((tf.matmul(pooled, kernel) + bias)[:, 0], views)
            # The mean of this map is the logit without its bias, since pooling and the last layer
            # commute: the class activation map of Zhou et al. 2016.
            cams = tf.split(tf.nn.conv2d(features, kernel[None, None], 1, "SAME"), views)
            maps += [
                turn_back(cam, view)[..., 0] for cam, view in zip(cams, self._views, strict=True)
            ]
            if "embedding" in outputs:
                embedding = _mean(tf.split(outputs["embedding"], views))
        by_view = tf.stack([_mean(logits[view::views]) for view in range(views)], 1)
        logit = _mean(logits)
        answer = {"logit": logit, "embedding": embedding}
        if self._head is not None:  # as `training.serving.modality.ModalityHead`
            told = tf.linalg.matvec(embedding, self._head.weights) + self._head.bias
            answer["modality"] = tf.sigmoid(told)
        slope, shift = self._choose_calibration(answer.get("modality"))
        # Subtractions, because int8 rounds sums to 256 values: those of the networks have to be.
        answer |= {
            "probability": tf.sigmoid(slope * logit - shift),
            "by_view": tf.sigmoid(slope[:, None] * by_view - shift[:, None]),
            "cam": slope[:, None, None] * _mean(maps),
        }
        if self._normal is not None:  # as `training.serving.outliers.measure_distance`
            whitened = [
                tf.matmul(embedding - mean, self._normal.whitening) for mean in self._normal.means
            ]
            distances = [tf.reduce_mean(tf.square(each), 1) for each in whitened]
            answer["distance"] = functools.reduce(tf.minimum, distances)
        return answer

    def _choose_calibration(self, modality: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return slopes and negative intercepts (B,) or (1,), by the kind that is told.

        The limit is that of `processing.manifest.name_modality`.
        """
        if self._evidence is None:
            return tf.ones(1), tf.zeros(1)
        if modality is None or not self._evidence.modalities:
            return _as_tensors(self._evidence.calibration)
        close_up = tf.cast(modality < 0.5, tf.float32)
        here = _as_tensors(self._evidence.choose("dermoscopic").calibration)
        there = _as_tensors(self._evidence.choose("close-up").calibration)
        slope, shift = (a - close_up * (a - b) for a, b in zip(here, there, strict=True))
        return slope, shift

    def convert(self, precision: Precision, images: NDArray[np.uint8] | None = None) -> bytes:
        """Convert to a LiteRT model.

        Args:
            images: (N, S, S, 3), on which int8 measures the ranges of the activations.
        """
        # Not with keras.export, which traces every layer once more and takes twice as long: the
        # converted bytes are the same.
        module = tf.Module()
        module.serve = self.serve
        # Untracked variables are not frozen, and LiteRT then silently reads NaN for them.
        module.kept = [variable.value for model in self._models for variable in model.variables]
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures={SIGNATURE: self.serve})
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            if precision == "float16":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
            if precision == "int8":
                return _quantize(converter, images)
            converted: bytes = converter.convert()
        return converted

    def compare(self, converted: bytes, images: NDArray[np.uint8]) -> float:
        """Return the largest difference in probability between a converted graph and Keras.

        Args:
            images: (N, S, S, 3).

        Raises:
            TrainingError: the difference exceeds `GOLDEN_TOLERANCE`, or an image falls on another
                side of one of the thresholds.
        """
        expected = self.serve(tf.constant(images))["probability"].numpy()
        given = run_litert(converted, images, len(images))["probability"]
        difference = float(np.abs(given - expected).max())
        held = self._evidence.list_held() if self._evidence else ()
        thresholds = [point.threshold for each in held for point in each.operating_points]
        limits = np.reshape(thresholds, (-1, 1))
        changed = ((given >= limits) != (expected >= limits)).any(axis=0).sum()
        if not difference <= GOLDEN_TOLERANCE or changed:
            raise TrainingError(
                f"The converted graph differs from Keras by up to {difference:.2g} in probability "
                f"on {len(images)} images and decides {changed} of them differently; at most "
                f"{GOLDEN_TOLERANCE} and none is allowed. Nothing was written."
            )
        return difference


def weigh_locations(height: int, width: int, deviation: float) -> NDArray[np.float32]:
    """Return (height, width), a Gaussian around the middle, of mean 1.

    A lesion is in the middle of a photo, and what is around it differs most between cameras.

    Args:
        deviation: its standard deviation along each axis; the outermost locations are at 1.
    """
    y, x = (np.linspace(-1, 1, cells) if cells > 1 else np.zeros(1) for cells in (height, width))
    weights: NDArray[np.float64] = np.exp(-(y[:, None] ** 2 + x**2) / (2 * deviation**2))
    weights /= weights.mean()
    return weights.astype(np.float32)


def _as_tensors(calibration: Calibration) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant([calibration.slope]), tf.constant([-calibration.intercept])


def _give_inner_outputs(model: keras.Model, embedding: bool) -> keras.Model:
    outputs = {"features": model.get_layer("embedding").input}
    if embedding:
        pooled = [keras.ops.mean(_last_of(stage, model), axis=(1, 2)) for stage in _EMBEDDED_STAGES]
        outputs["embedding"] = keras.ops.concatenate(pooled, axis=-1)
    return keras.Model(model.input, outputs)


def _last_of(stage: str, model: keras.Model) -> keras.KerasTensor:
    ends = [layer for layer in model.layers if layer.name.startswith(stage)]
    return ends[-1].output


def _mean(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(tensors) / len(tensors) if len(tensors) > 1 else tensors[0]


def _quantize(converter: tf.lite.TFLiteConverter, images: NDArray[np.uint8] | None) -> bytes:
    assert images is not None
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        (SIGNATURE, {"images": image[None]}) for image in images
    )
    everything = _quantize_all_but(converter, [])
    return _quantize_all_but(converter, _list_first_stages(everything))


def _quantize_all_but(converter: tf.lite.TFLiteConverter, nodes: list[str]) -> bytes:
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=_KEPT_FLOAT, denylisted_nodes=nodes
    )
    with warnings.catch_warnings():
        # It uses TensorFlow's own interpreter, which is deprecated.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter,
            debug_dataset=converter.representative_dataset,
            debug_options=options,
        )
        converted: bytes = debugger.get_nondebug_quantized_model()
    return converted


def _list_first_stages(model: bytes) -> list[str]:
    """List the names of the int8 tensors in the first stages of a converted graph."""
    tensors = Interpreter(model_content=model).get_tensor_details()
    return [
        tensor["name"]
        for tensor in tensors
        if tensor["dtype"] == np.int8
        and any(f"/{stage}" in tensor["name"] for stage in _KEPT_STAGES)
    ]


def run_litert(
    model: bytes, images: Iterable[NDArray[np.uint8]], total: int
) -> dict[str, NDArray[np.float32]]:
    """Run a converted graph on `total` images (S, S, 3), one at a time, on all cores.

    Returns:
        The graph's outputs, each (total, ...), in the order of the images.
    """
    waiting, taking = enumerate(images), threading.Lock()
    answers: dict[int, dict[str, NDArray[np.float32]]] = {}
    with tqdm(total=total, desc="Predicting", unit=" images", mininterval=1) as bar:

        def work(_: int) -> None:
            serve = Interpreter(model_content=model, num_threads=1).get_signature_runner(SIGNATURE)
            while True:
                with taking:
                    i, image = next(waiting, (-1, None))
                if image is None:
                    return
                answers[i] = serve(images=image[None])
                bar.update()

        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))  # raises what a worker raised
    return {
        name: np.concatenate([answers[i][name] for i in range(len(answers))])
        for name in next(iter(answers.values()), {})
    }
