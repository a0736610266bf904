"""EfficientNet B0 to B7 and Lite0 to Lite2 without their heads, and their pretrained weights."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import h5py
import keras
import numpy as np
from efficientnet.weights import NS_WEIGHTS_HASHES, NS_WEIGHTS_PATH
from keras.applications import efficientnet

# Keras exposes B0 to B7 only, but the builder behind them can also make the Lite family.
from keras.src.applications.efficientnet import DEFAULT_BLOCKS_ARGS, EfficientNet

from training.errors import TrainingError
from training.model.lite_weights import load_lite_weights
from training.recipe import Backbone

# Width and depth coefficients. How the family differs from EfficientNet:
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
_LITE = {
    "EfficientNetLite0": (1.0, 1.0),
    "EfficientNetLite1": (1.0, 1.1),
    "EfficientNetLite2": (1.1, 1.2),
}
_LITE_BLOCK_DROP_RATE = 0.2
BACKBONES: tuple[str, ...] = get_args(Backbone)
WEIGHTS = ("imagenet", "noisy-student", "none")

_IMAGENET_MEAN, _IMAGENET_STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_backbone(name: str, size: int, weights: str) -> keras.Model:
    """Build a feature extractor: (B, S, S, 3) float RGB, 0..255 -> (B, h, w, C) float.

    Args:
        name: one of `BACKBONES`.
        size: S, pixels.
        weights: `imagenet`, `noisy-student` (B0 to B7 only), `none`, or a weights file of a
            headless Keras EfficientNet of this name (B0 to B7 only).

    Raises:
        TrainingError: the name is unknown, or the weights are missing or of another backbone.
    """
    if name not in BACKBONES:
        raise TrainingError(f"--backbone must be one of {', '.join(BACKBONES)}. Received: {name}")
    if name in _LITE:
        return _build_lite(name, size, weights)
    build = getattr(efficientnet, name)
    shape = (size, size, 3)
    if weights == "imagenet":
        try:
            backbone: keras.Model = build(weights=weights, include_top=False, input_shape=shape)
        except Exception as error:  # keras.utils.get_file raises Exception for all network faults
            raise TrainingError(
                f"The ImageNet weights of {name} could not be downloaded ({error}). Give a "
                "downloaded file with --weights FILE, or train from scratch with --weights none."
            ) from error
        return backbone
    backbone = build(weights=None, include_top=False, input_shape=shape)
    # Keras's model rescales to 0..1 first; its normalisation layer then does what the files expect.
    _set_normalisation(backbone, _IMAGENET_MEAN, _IMAGENET_STDDEV)
    if weights != "none":
        file = _download_noisy_student(name) if weights == "noisy-student" else Path(weights)
        _load_by_name(backbone, file)
    return backbone


def _build_lite(name: str, size: int, weights: str) -> keras.Model:
    """Build EfficientNet without squeeze-and-excite, with ReLU6, and with a fixed stem and top."""
    if weights not in ("imagenet", "none"):
        raise TrainingError(f"--weights of {name} must be imagenet or none. Received: {weights}")
    width, depth = _LITE[name]
    last = len(DEFAULT_BLOCKS_ARGS) - 1
    blocks = [
        {
            **block,
            "se_ratio": 0.0,
            "filters_in": 32 if i == 0 else _round_filters(block["filters_in"], width),
            "filters_out": _round_filters(block["filters_out"], width),
            "repeats": block["repeats"] if i in (0, last) else math.ceil(block["repeats"] * depth),
        }
        for i, block in enumerate(DEFAULT_BLOCKS_ARGS)
    ]
    backbone: keras.Model = EfficientNet(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        default_size=size,
        drop_connect_rate=_LITE_BLOCK_DROP_RATE,
        activation="relu6",
        blocks_args=blocks,
        name=name.lower(),
        include_top=False,
        weights=None,
        input_shape=(size, size, 3),
    )
    _set_normalisation(backbone, [127 / 255] * 3, [128 / 255] * 3)
    if weights == "imagenet":
        load_lite_weights(backbone, name)
    return backbone


def _round_filters(filters: int, width: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, at most 10 % down (reference code of Tan & Le 2019)."""
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def _set_normalisation(
    backbone: keras.Model, mean: Sequence[float], stddev: Sequence[float]
) -> None:
    layer = next(x for x in backbone.layers if isinstance(x, keras.layers.Normalization))
    layer.set_weights([np.array(mean), np.square(stddev), np.array(0)])
    layer.finalize_state()


def noisy_student_file(name: str) -> tuple[str, str]:
    """Return URL and MD5 of the headless noisy-student weights of `name`, one of B0 to B7."""
    key = name.replace("EfficientNetB", "efficientnet-b")
    return f"{NS_WEIGHTS_PATH}{key}_noisy-student_notop.h5", NS_WEIGHTS_HASHES[key][1]


def _download_noisy_student(name: str) -> Path:
    address, md5 = noisy_student_file(name)
    try:
        return Path(keras.utils.get_file(origin=address, cache_subdir="models", file_hash=md5))
    except Exception as error:  # as above
        raise TrainingError(
            f"The noisy-student weights of {name} could not be downloaded ({error}). Download "
            f"{address} elsewhere and give it with --weights FILE."
        ) from error


def _load_by_name(backbone: keras.Model, file: Path) -> None:
    if not file.is_file():
        raise TrainingError(f"--weights: {file} is neither a file nor one of {', '.join(WEIGHTS)}.")
    # load_weights(by_name=True) skips layers that the file lacks, and would leave them random.
    try:
        with h5py.File(file) as content:
            in_file = set((content.get("model_weights", content)).keys())
    except OSError as error:
        raise TrainingError(f"--weights: {file} is not an HDF5 weights file ({error}).") from error
    own = (
        x for x in backbone.layers if x.weights and not isinstance(x, keras.layers.Normalization)
    )
    missing = sorted({x.name for x in own} - in_file)
    if missing:
        raise TrainingError(
            f"--weights: {file} lacks {len(missing)} layers of {backbone.name}, such as "
            f"{missing[0]}. Give a file of this backbone."
        )
    try:
        backbone.load_weights(file, by_name=True)
    except ValueError as error:
        raise TrainingError(f"--weights: {file} belongs to another backbone ({error}).") from error
