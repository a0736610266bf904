"""Keras's losses for one logit and a rare positive class, chosen by name."""

import keras

from training.recipe import Loss


def make_loss(loss: Loss) -> keras.losses.Loss:
    """Make the loss of targets (B, 1) in 0..1 and logits (B, 1); focal: Lin et al. 2017.

    The weights of `weighted_bce` are not part of it: they are sample weights, see
    `choose_positive_weight`.
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


def choose_positive_weight(loss: Loss, positives: int, negatives: int) -> float:
    """Choose the sample weight of a positive image; a negative one has weight 1."""
    if loss.name != "weighted_bce":
        return 1.0
    return loss.positive_weight or negatives / positives
