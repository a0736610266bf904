"""A run's folds -> one graph -> a bundle that carries its own proof."""

import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from etils import epath
from numpy.typing import NDArray

from processing.bundle import (
    CARD,
    GOLDEN,
    GOLDEN_TOLERANCE,
    MODEL,
    Bundle,
    Calibration,
    Description,
    Input,
    Metric,
    refuse_existing,
    write_bundle,
)
from processing.drawing import draw_lesion
from training.audit import check_test
from training.calibrate import IN_FORCE, calibrate, choose_operating_points, fit_calibration
from training.card import render_card
from training.data import Build, Data, read_data
from training.dataset import check_shards, make_evaluation_dataset
from training.errors import TrainingError
from training.metrics import INTERVAL_METHOD, auc, sensitivity, specificity
from training.run import MODEL as KERAS_MODEL
from training.run import TrainSettings, finished_folds, read_oof, read_settings
from training.vocabulary import LICENCE, TARGETS, describe_source

_log = logging.getLogger(__name__)

SIGNATURE = "serve"
_GOLDEN_LESIONS = 4  # of each kind
_CHECKED_IMAGES = 64


def export(run: Path, tests: Sequence[epath.Path], out: Path) -> Bundle:
    """Export the finished folds of `run`, averaged, as the bundle `out`.

    Args:
        tests: data folders, none of whose lesions or images may be in the training data; each
            adds its AUC, sensitivity and specificity to the manifest. They choose nothing.

    Raises:
        TrainingError: the run, a test set or the converted graph is not fit to serve.
        BundleError: `out` exists.
    """
    refuse_existing(out)
    settings = read_settings(run)
    data = read_data(epath.Path(settings.data))
    built = data.build
    if built.cases_sha256 != settings.data_sha256:
        raise TrainingError(f"{data.folder} is no longer the data set that {run} was trained on.")
    if settings.size != built.settings.size:
        raise TrainingError(
            f"{run} was trained at {settings.size} px on squares of {built.settings.size} px, but "
            "serving cuts photos to the size of the model. Build the data and train again with "
            f"--size {settings.size}."
        )
    tested = [read_data(test) for test in tests]
    for test in tested:
        _check_test(test, data)
    folders = finished_folds(run, settings.folds)
    oof = read_oof(run, settings.folds)
    target = TARGETS[built.settings.target]
    oof_name = (
        f"out-of-fold predictions, {len(folders)} of {settings.folds} folds: {len(oof)} images, "
        f"{oof['target'].sum()} {target.plural}"
    )
    calibration = fit_calibration(oof, oof_name)
    probability = calibrate(oof["logit"].to_numpy(), calibration)
    points = choose_operating_points(oof["target"].to_numpy(), probability, oof_name)
    threshold = next(point.threshold for point in points if point.name == IN_FORCE)

    _log.info("Loading %d models", len(folders))
    models = [keras.models.load_model(folder / KERAS_MODEL) for folder in folders]
    graph = ServingGraph(models, calibration, built.settings.size)
    metrics = _measure("out-of-fold", oof, probability, threshold)
    for test in tested:
        _log.info("Predicting test set %s", test.folder)
        predictions = _predict_test(test, graph)
        metrics += _measure(
            f"test set {test.folder.name}",
            predictions,
            predictions["probability"].to_numpy(),
            threshold,
        )

    _log.info("Converting to LiteRT")
    model = _convert(graph)
    _log.info("Comparing it with Keras on %d images", _CHECKED_IMAGES)
    _check(model, graph, data)
    images = draw_golden_images(built.settings.size)
    description = Description(
        backbone=settings.backbone,
        input=Input(size=built.settings.size, crop_fraction=built.settings.crop_fraction),
        label=target.label,
        operating_points=points,
        operating_point=IN_FORCE,
        calibration=calibration,
        metrics=tuple(metrics),
        licence=LICENCE,
        attribution=tuple(
            line for name in built.sources for line in describe_source(name).attribution
        ),
        training=_describe_training(settings, built, len(folders)),
    )
    files = {
        MODEL: model,
        GOLDEN: _pack_golden(images, graph.probabilities(images)),
        CARD: render_card(description).encode(),
    }
    return write_bundle(out, description, files)


class ServingGraph:
    """What is served: every fold, their average, the calibration, the map and the embedding."""

    def __init__(self, models: Sequence[keras.Model], calibration: Calibration, size: int) -> None:
        self._calibration = calibration
        self.models = [
            keras.Model(
                model.input,
                {
                    "features": model.get_layer("embedding").input,
                    "embedding": model.get_layer("embedding").output,
                    "logit": model.output,
                },
            )
            for model in models
        ]
        self._kernels = [model.get_layer("logit").kernel.numpy()[None, None] for model in models]
        spec = tf.TensorSpec((None, size, size, 3), tf.uint8, name="images")
        self.serve = tf.function(self._serve, input_signature=[spec])

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.cast(images, tf.float32)
        logits, maps, embeddings = [], [], []
        for model, kernel in zip(self.models, self._kernels, strict=True):
            outputs = model(pixels, training=False)
            logits.append(outputs["logit"][:, 0])
            embeddings.append(outputs["embedding"])
            # The mean of this map is the logit without its bias, since pooling and the last layer
            # commute: the class activation map of Zhou et al. 2016.
            maps.append(tf.nn.conv2d(outputs["features"], kernel, 1, "SAME")[..., 0])
        slope, intercept = self._calibration.slope, self._calibration.intercept
        return {
            "probability": tf.sigmoid(slope * _mean(logits) + intercept),
            "cam": slope * _mean(maps),
            "embedding": _mean(embeddings),
        }

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N,) of images (N, S, S, 3) uint8."""
        probability: NDArray[np.float32] = self.serve(images)["probability"].numpy()
        return probability


def _mean(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(tensors) / len(tensors) if len(tensors) > 1 else tensors[0]


def draw_golden_images(size: int) -> NDArray[np.uint8]:
    """Drawn lesions (N, S, S, 3): golden inputs that may be published."""
    return np.stack(
        [
            draw_lesion(seed, size, irregular=irregular)
            for irregular in (False, True)
            for seed in range(_GOLDEN_LESIONS)
        ]
    )


def run_litert(model: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities (N,) of images (N, S, S, 3) uint8 from a converted graph."""
    serve = Interpreter(model_content=model).get_signature_runner(SIGNATURE)
    return np.concatenate([serve(images=image[None])["probability"] for image in images])


def _convert(graph: ServingGraph) -> bytes:
    archive = keras.export.ExportArchive()
    # Untracked variables are not frozen, and LiteRT then reads NaN for them without a word.
    for model in graph.models:
        archive.track(model)
    archive.add_endpoint(SIGNATURE, graph.serve)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converted: bytes = converter.convert()
    return converted


def _check(model: bytes, graph: ServingGraph, data: Data) -> None:
    """Compare the converted graph with Keras on training images."""
    size = data.build.settings.size
    batches = make_evaluation_dataset(data.shards([0]), size, _CHECKED_IMAGES)
    images = next(iter(batches))["image"].numpy()
    difference = np.abs(run_litert(model, images) - graph.probabilities(images)).max()
    if not difference <= GOLDEN_TOLERANCE:
        raise TrainingError(
            f"The converted graph differs from Keras by {difference:.2g} in probability on "
            f"{len(images)} images; at most {GOLDEN_TOLERANCE} is allowed. Nothing was written."
        )


def _measure(
    name: str, predictions: pd.DataFrame, probability: NDArray[np.floating], threshold: float
) -> list[Metric]:
    target = predictions["target"].to_numpy()
    measured = {
        "AUC": (auc(target, probability, predictions["group"]), INTERVAL_METHOD),
        "sensitivity": (sensitivity(target, probability >= threshold), "Wilson score"),
        "specificity": (specificity(target, probability >= threshold), "Wilson score"),
    }
    return [
        Metric(
            name=metric,
            dataset=name,
            estimate=estimate,
            interval_method=method,
            images=len(target),
            positives=int(target.sum()),
        )
        for metric, (estimate, method) in measured.items()
    ]


def _check_test(test: Data, data: Data) -> None:
    size, wanted = test.build.settings.size, data.build.settings.size
    if size != wanted:
        raise TrainingError(
            f"--test {test.folder} holds images of {size} px, the model takes {wanted}. "
            f"Build it again with --size {wanted}."
        )
    if test.build.settings.target != data.build.settings.target:
        raise TrainingError(
            f"--test {test.folder} counts {test.build.settings.target} as positive, the training "
            f"data {data.build.settings.target}. Build it again with the same --target."
        )
    check_shards(test.shards(), size)
    for check in check_test(data.cases, test.cases, ""):
        if len(check.found):
            raise TrainingError(
                f"--test {test.folder} shares {len(check.found)} {check.what} with the training "
                f"data, first {check.found['found'].iloc[0]}. A test set must be apart: build the "
                f"training data with --apart-from {test.folder}."
            )


def _predict_test(test: Data, graph: ServingGraph) -> pd.DataFrame:
    """Columns image_name, target, group, probability of every image of a test set."""
    parts = [
        pd.DataFrame(
            {
                "target": batch["target"].numpy()[:, 0].astype(int),
                "image_name": batch["image_name"].numpy().astype(str),
                "probability": graph.probabilities(batch["image"]),
            }
        )
        for batch in make_evaluation_dataset(test.shards(), test.build.settings.size, batch_size=32)
    ]
    return pd.concat(parts).merge(test.cases[["image_name", "group"]], validate="one_to_one")


def _pack_golden(images: NDArray[np.uint8], probability: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=images, probability=probability)
    return buffer.getvalue()


def _describe_training(settings: TrainSettings, built: Build, folds: int) -> dict[str, Any]:
    return {
        "settings": settings.model_dump(mode="json", exclude={"data", "data_sha256"}),
        "folds_averaged": folds,
        "data": built.model_dump(
            mode="json", include={"settings", "sources", "images", "positives", "groups"}
        ),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
