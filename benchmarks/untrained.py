"""An untrained EfficientNetB4 at 384 px, as a Keras file and as bundles, to measure speed.

`python -m benchmarks.untrained FOLDER` runs in a process of its own, because TensorFlow stays in
memory.
"""

import io
import sys
from pathlib import Path

import keras
import numpy as np

from app.service import EMBEDDED_BUNDLE
from processing.bundle import CARD, GOLDEN, MODEL, read_bundle, write_bundle
from processing.drawing import draw_photo
from processing.manifest import Input
from training.model.network import build_model
from training.serving.graph import ServingGraph, run_litert

BACKBONE, SIZE, CROP = "EfficientNetB4", 384, 0.5
KERAS_FILE = "model.keras"


def main(folder: Path) -> None:
    """Write model.keras and the bundles float32 and int8."""
    keras.utils.set_random_seed(0)
    model = build_model(BACKBONE, SIZE, "none")
    model.save(folder / KERAS_FILE)
    # Everything that does not matter here is the embedded model's.
    changes = {"backbone": BACKBONE, "input": Input(size=SIZE, crop_fraction=CROP)}
    description = read_bundle(EMBEDDED_BUNDLE).manifest.model_copy(
        update=changes | {"outliers": None, "modalities": {}}
    )
    graph = ServingGraph([model])
    images = np.stack([draw_photo(seed, SIZE, irregular=bool(seed % 2)) for seed in range(4)])
    for precision in ("float32", "int8"):
        converted = graph.convert(precision, images)
        golden = io.BytesIO()
        probability = run_litert(converted, images, len(images))["probability"]
        np.savez(golden, images=images, probability=probability)
        files = {MODEL: converted, GOLDEN: golden.getvalue(), CARD: b"# Untrained\n"}
        write_bundle(folder / precision, description, files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
