"""Losses for one logit and a rare positive class: Keras's own, chosen by name."""

from typing import Annotated, Literal

import keras
from pydantic import BaseModel, ConfigDict, Field


class Loss(BaseModel):
    """What is minimised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["weighted_bce", "bce", "focal"] = "weighted_bce"
    # weighted_bce: what a positive counts; None: as much as all others together do for one
    positive_weight: Annotated[float, Field(gt=0)] | None = None
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    focal_alpha: Annotated[float, Field(gt=0, lt=1)] | None = None  # weight of positives; None: off
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


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
