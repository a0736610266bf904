import keras
import numpy as np

from training.train.batchnorm import estimate_statistics


def test_statistics_become_the_mean_of_those_of_the_batches() -> None:
    images = keras.Input((4, 4, 3))
    first = keras.layers.BatchNormalization(name="first")
    second = keras.layers.BatchNormalization(name="second", momentum=0.9)
    model = keras.Model(images, second(keras.layers.ReLU()(first(images))))
    batches = np.random.default_rng(0).normal(2, 3, (5, 8, 4, 4, 3)).astype(np.float32)
    estimate_statistics(model, batches)

    axes = (1, 2, 3)
    mean, variance = batches.mean(axis=axes), batches.var(axis=axes)
    normal = (batches - mean[:, None, None, None]) / np.sqrt(variance + 1e-3)[:, None, None, None]
    after = np.maximum(normal, 0)  # the second sees what the first makes of the same batch
    for layer, values in ((first, batches), (second, after)):
        np.testing.assert_allclose(layer.moving_mean, values.mean(axis=axes).mean(0), atol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, values.var(axis=axes).mean(0), rtol=1e-4)
    assert (first.momentum, second.momentum) == (0.99, 0.9)
    np.testing.assert_array_equal(first.gamma, np.ones(3))
