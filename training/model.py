"""The network: EfficientNet, global average pooling, dropout, one logit."""

import keras

from training.backbones import build_backbone


def build_model(backbone: str, size: int, weights: str, dropout: float) -> keras.Model:
    """Build (B, S, S, 3) float RGB 0..255 -> logit of melanoma (B, 1).

    Raises:
        TrainingError: as `training.backbones.build_backbone`.
    """
    features = build_backbone(backbone, size, weights)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(features.output)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logit = keras.layers.Dense(1, name="logit", dtype="float32")(dropped)
    return keras.Model(features.input, logit, name=f"{backbone}-{size}")
