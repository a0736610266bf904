"""Export of an evaluated run as a bundle that can be verified."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from processing.bundle import CARD, GOLDEN, MODEL, Bundle, write_bundle
from processing.drawing import draw_lesion
from processing.manifest import Description, Input, Metric
from training.data.vocabulary import LICENCE, TARGETS, describe_source
from training.evaluate.evaluation import Evaluated, Evaluation
from training.evaluate.figures import Judgement
from training.metrics.intervals import INTERVAL_METHOD, PROPORTION_METHOD
from training.recipe import TrainSettings
from training.serving.graph import run_litert
from training.serving.served import Served
from training.ship.card import render_card

_GOLDEN_LESIONS = 2  # of each kind; few, to keep the bundle small
# Settings of a run that the manifest leaves out or names elsewhere.
_OF_THE_DATA = {"data", "data_sha256", "crop_fraction", "pixel_path", "weights_run"}


def export(evaluated: Evaluated, out: Path, notes: Sequence[str] = ()) -> Bundle:
    """Write an evaluated run, all folds averaged, as the bundle `out`.

    Args:
        notes: sentences for the model card.

    Raises:
        BundleError: `out` exists.
    """
    served, evaluation = evaluated.served, evaluated.evaluation
    description = _describe(served, evaluation)
    images = draw_golden_images(served.run.settings.size)
    golden = run_litert(served.model, images, len(images))["probability"]
    files = {
        MODEL: served.model,
        GOLDEN: _pack_golden(images, golden),
        CARD: render_card(description, evaluation, notes).encode(),
    }
    return write_bundle(out, description, files)


def draw_golden_images(size: int) -> NDArray[np.uint8]:
    """Draw lesions (N, S, S, 3): golden images that may be published, unlike ISIC's."""
    return np.stack(
        [
            draw_lesion(seed, size, irregular=irregular)
            for irregular in (False, True)
            for seed in range(_GOLDEN_LESIONS)
        ]
    )


def _pack_golden(images: NDArray[np.uint8], probability: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=images, probability=probability)
    return buffer.getvalue()


def _describe(served: Served, evaluation: Evaluation) -> Description:
    settings, built = served.run.settings, served.run.data.build
    return Description(
        **dict(served.evidence),
        backbone=settings.backbone,
        input=Input(
            size=settings.size,
            crop_fraction=built.settings.crop_fraction,
            pixel_path=built.settings.pixel_path,
        ),
        label=TARGETS[built.settings.target].label,
        metrics=tuple(
            metric
            for judgement in evaluation.judgements
            for metric in _list_metrics(judgement, served.evidence.operating_point)
        ),
        licence=LICENCE,
        attribution=tuple(
            line for name in built.sources for line in describe_source(name).attribution
        ),
        training=_describe_training(served),
    )


def _list_metrics(judgement: Judgement, operating_point: str) -> list[Metric]:
    point = next(
        each for each in judgement.at_thresholds if each.operating_point == operating_point
    )
    measured = {
        "AUC": (judgement.figures["AUC"], INTERVAL_METHOD),
        "sensitivity": (point.sensitivity, PROPORTION_METHOD),
        "specificity": (point.specificity, PROPORTION_METHOD),
    }
    return [
        Metric(
            name=name,
            dataset=judgement.dataset,
            estimate=estimate,
            interval_method=method,
            images=judgement.images,
            positives=judgement.positives,
        )
        for name, (estimate, method) in measured.items()
    ]


def _describe_training(served: Served) -> dict[str, Any]:
    return {
        "settings": _describe_settings(served.run.settings),
        "folds_averaged": served.folds,
        "weights_averaged": served.weights_averaged,
        "views_averaged": served.views,
        "centre": served.centre,
        "precision": served.precision,
        "data": served.run.data.build.model_dump(
            mode="json",
            include={"cases_sha256", "settings", "sources", "images", "positives", "groups"},
        ),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _describe_settings(settings: TrainSettings) -> dict[str, Any]:
    """Describe a run's settings without the paths of this machine."""
    earlier = settings.weights_run
    described = settings.model_dump(mode="json", exclude=_OF_THE_DATA)
    return described | {
        "weights": Path(settings.weights).name,
        "weights_run": earlier and _describe_settings(earlier),
    }
