"""Two steps of one network from given weights on one batch: prints their losses.

python -m tests.training.one_step BACKBONE SIZE WEIGHTS IMAGES.npy
"""

import sys
from pathlib import Path

from training.train.hardware import choose_backend, find_hardware

choose_backend()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from training.model.network import build_model  # noqa: E402


def main(backbone: str, size: str, weights: str, images: str) -> None:
    keras.utils.set_random_seed(1)
    hardware = find_hardware("float32")
    with hardware.scope():
        # No drop-out: the backends draw differently.
        model = build_model(backbone, int(size), "none", dropout=0.0, drop_connect=0.0)
        if Path(weights).exists():
            model.load_weights(weights)
        else:
            model.save_weights(weights)
        model.compile(
            keras.optimizers.SGD(0.001), loss=keras.losses.BinaryCrossentropy(from_logits=True)
        )
    batch = np.load(images)
    target = (np.arange(len(batch)) % 2)[:, None].astype(np.float32)
    print("LOSSES", *(float(model.train_on_batch(batch, target)) for _ in range(2)))


if __name__ == "__main__":
    main(*sys.argv[1:])
