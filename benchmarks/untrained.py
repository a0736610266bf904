"""An untrained EfficientNetB4 at 384 px, as a Keras file and as bundles: speed asks no training.

`python -m benchmarks.untrained FOLDER`, in a process of its own, as TensorFlow stays in memory.
"""

import io
import sys
from pathlib import Path

import keras
import numpy as np

from processing.bundle import (
    CARD,
    GOLDEN,
    MODEL,
    Calibration,
    Description,
    Estimate,
    Input,
    Label,
    OperatingPoint,
    write_bundle,
)
from processing.drawing import draw_photo
from training.model import build_model
from training.serving_graph import ServingGraph, run_litert

BACKBONE, SIZE, CROP = "EfficientNetB4", 384, 0.5
KERAS_FILE = "model.keras"
_UNKNOWN = Estimate(value=0.5, low=0.0, high=1.0)
_DESCRIPTION = Description(
    backbone=BACKBONE,
    input=Input(size=SIZE, crop_fraction=CROP),
    label=Label(name="nothing", covers="nothing", not_covered="everything"),
    operating_points=(
        OperatingPoint(
            name="any",
            threshold=0.5,
            sensitivity=_UNKNOWN,
            specificity=_UNKNOWN,
            measured_on="nothing",
        ),
    ),
    operating_point="any",
    calibration=Calibration(slope=1.0, intercept=0.0, fitted_on="nothing"),
    metrics=(),
    licence="CC0-1.0",
    attribution=(),
    training={},
)


def main(folder: Path) -> None:
    """Write model.keras, and the bundles float32 and int8."""
    keras.utils.set_random_seed(0)
    model = build_model(BACKBONE, SIZE, "none")
    model.save(folder / KERAS_FILE)
    graph = ServingGraph([model])
    images = np.stack([draw_photo(seed, SIZE, irregular=bool(seed % 2)) for seed in range(4)])
    for precision in ("float32", "int8"):
        converted = graph.convert(precision, images)
        golden = io.BytesIO()
        probability = run_litert(converted, images, len(images))["probability"]
        np.savez(golden, images=images, probability=probability)
        files = {MODEL: converted, GOLDEN: golden.getvalue(), CARD: b"# Untrained\n"}
        write_bundle(folder / precision, _DESCRIPTION, files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
