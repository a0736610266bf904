"""Losses for one logit and a rare positive class: Keras's own, chosen by name."""

import keras

from training.recipe import Loss


def make_loss(loss: Loss) -> keras.losses.Loss:
    """Loss of targets (B, 1) in 0..1 and logits (B, 1); focal: Lin et al. 2017.

    The weights of `weighted_bce` are not in it: they are the samples' (`positive_weight_of`).
    """
    if loss.name == "focal":
        return keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=loss.focal_alpha is not None,
            alpha=loss.focal_alpha or 0.25,
            gamma=loss.focal_gamma,
            from_logits=True,
            label_smoothing=loss.label_smoothing,
        )
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=loss.label_smoothing)


def positive_weight_of(loss: Loss, positives: int, negatives: int) -> float:
    """What a positive image counts, where a negative one counts 1."""
    if loss.name != "weighted_bce":
        return 1.0
    return loss.positive_weight or negatives / positives
