"""A weights file and answers of the `efficientnet` package's own B4, for a process of its own.

The package is written for the Keras of before version 3, of which TensorFlow takes one or the other
for a whole process: python efficientnet_package.py IMAGES.npy FEATURES.npy WEIGHTS.h5
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # read while TensorFlow is imported

import numpy as np
import tf_keras
from efficientnet import tfkeras

images_path, features_path, weights_path = sys.argv[1:]
images = np.load(images_path)  # (B, S, S, 3) uint8, 0..255, RGB
tf_keras.utils.set_random_seed(0)
model = tfkeras.EfficientNetB4(include_top=False, weights=None, input_shape=images.shape[1:])

# Kernels are drawn at random; what else starts as 0 or 1 could go astray unseen, so is moved.
rng = np.random.default_rng(0)
for layer in model.layers:
    values = layer.get_weights()
    layer.set_weights([v if v.ndim > 1 else v + 0.2 * rng.standard_normal(v.shape) for v in values])
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        layer.momentum = 0.0
# Means and variances become what these images have. With others a signal fades on its way through
# 32 blocks, and the answer does not depend on the image or on a weight.
inputs = tfkeras.preprocess_input(images)
model(inputs, training=True)

model.save_weights(weights_path)
np.save(features_path, model.predict(inputs, verbose=0))
