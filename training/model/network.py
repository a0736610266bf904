"""The network: EfficientNet, global average pooling, dropout, one logit."""

import keras

from training.model.backbones import build_backbone


def build_model(
    backbone: str,
    size: int,
    weights: str,
    dropout: float = 0.0,
    drop_connect: float = 1.0,
    diagnoses: int = 0,
) -> keras.Model:
    """Build the network: (B, S, S, 3) float RGB, 0..255 -> logit of the positive class (B, 1).

    Args:
        backbone, size, weights: as in `training.model.backbones.build_backbone`.
        dropout: rate before the last layer, in training.
        drop_connect: factor on the rates of the backbone's stochastic depth (Huang et al. 2016), in
            training.
        diagnoses: D, the number of diagnoses; other than 0, return [logit, logits over the
            diagnoses (B, D)]. Learning to distinguish them helps to recognise melanoma (first place
            of SIIM-ISIC 2020, arXiv:2010.05351).

    Raises:
        TrainingError: as `build_backbone`.
    """
    features = build_backbone(backbone, size, weights)
    for layer in features.layers:
        if layer.name.startswith("block") and layer.name.endswith("drop"):
            layer.rate *= drop_connect
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(features.output)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    outputs = [keras.layers.Dense(1, name="logit", dtype="float32")(dropped)]
    if diagnoses:
        head = keras.layers.Dense(diagnoses, name="diagnosis", dtype="float32")
        outputs.append(head(dropped))
    return keras.Model(
        features.input, outputs if diagnoses else outputs[0], name=f"{backbone}-{size}"
    )
