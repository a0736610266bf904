"""Statistics of batch normalization for the final weights."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def estimate_statistics(model: keras.Model, batches: Iterable[NDArray[np.floating]]) -> None:
    """Replace the statistics of each `BatchNormalization` by their mean over some batches.

    During training they follow the weights of each step. Averaged weights were never trained with,
    so they need statistics of their own (Izmailov et al. 2018, section 3.2).

    Args:
        model: the network, without drop-out or drop-connect; its other weights stay.
        batches: images (B, S, S, 3), 0..255, as they are when predicted.
    """
    layers = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    momentum = [layer.momentum for layer in layers]
    positions = {id(variable): i for i, variable in enumerate(model.non_trainable_variables)}
    chosen = [
        positions[id(variable)]
        for layer in layers
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    for layer in layers:
        layer.momentum = 0.0  # leaves the statistics of each batch as they are

    def measure(trainable: list[Any], non_trainable: list[Any], images: Any) -> list[Any]:
        _, after = model.stateless_call(trainable, non_trainable, images, training=True)
        return [after[i] for i in chosen]

    measured = _compile(measure)
    values = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    sums: list[Any] = [0.0] * len(chosen)
    count = 0
    for images in batches:
        for i, value in enumerate(measured(*values, keras.ops.convert_to_tensor(images))):
            sums[i] = sums[i] + np.asarray(value, np.float64)
        count += 1
    for i, total in zip(chosen, sums, strict=True):
        model.non_trainable_variables[i].assign(total / count)
    for layer, value in zip(layers, momentum, strict=True):
        layer.momentum = value


def _compile(function: Any) -> Any:
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)
