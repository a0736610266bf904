"""Probabilities and thresholds, chosen on out-of-fold predictions alone."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from processing.bundle import Calibration, OperatingPoint
from training.errors import TrainingError
from training.metrics import sensitivity, specificity

SENSITIVITIES = (0.95, 0.90)
# For a first look by a lay person a missed melanoma costs more than a visit to a doctor.
IN_FORCE = "sensitivity 0.95"


def fit_calibration(oof: pd.DataFrame, data: str) -> Calibration:
    """Fit probability = sigmoid(slope * logit + intercept) (Platt 1999).

    A slope alone would not do: the positive weight of the loss shifts every logit upwards.

    Args:
        oof: columns logit, target.
        data: what the predictions are of, for the manifest.

    Raises:
        TrainingError: the logits do not rise with the target, so no slope can mend them.
    """
    fit = LogisticRegression(C=np.inf).fit(oof[["logit"]].to_numpy(), oof["target"].to_numpy())
    slope = float(fit.coef_[0, 0])
    if slope <= 0:
        raise TrainingError(
            f"Calibration: on {data} higher logits do not mean melanoma (slope {slope:.3g}). "
            "The model has learned nothing: train it longer or on more images."
        )
    return Calibration(slope=slope, intercept=float(fit.intercept_[0]), fitted_on=data)


def calibrate(logit: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """Logits (N,) -> probabilities (N,)."""
    probability: NDArray[np.float64] = expit(calibration.slope * logit + calibration.intercept)
    return probability


def choose_operating_points(
    target: NDArray[np.integer], probability: NDArray[np.floating], data: str
) -> tuple[OperatingPoint, ...]:
    """Thresholds for each of `SENSITIVITIES`, and the balanced one (largest Youden index)."""
    thresholds = {
        f"sensitivity {level:.2f}": _threshold_of_sensitivity(target, probability, level)
        for level in SENSITIVITIES
    }
    thresholds["balanced"] = _threshold_of_youden(target, probability)
    return tuple(
        OperatingPoint(
            name=name,
            threshold=threshold,
            sensitivity=sensitivity(target, probability >= threshold),
            specificity=specificity(target, probability >= threshold),
            measured_on=data,
        )
        for name, threshold in thresholds.items()
    )


def _threshold_of_sensitivity(
    target: NDArray[np.integer], probability: NDArray[np.floating], level: float
) -> float:
    """The highest threshold that still finds `level` of the positives."""
    positives = np.sort(probability[target == 1])
    missed = int(np.floor((1 - level) * len(positives) + 1e-9))
    return _just_below(probability, positives[missed])


def _threshold_of_youden(target: NDArray[np.integer], probability: NDArray[np.floating]) -> float:
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(target[order] == 1) / (target == 1).sum()
    alarms = np.cumsum(target[order] == 0) / (target == 0).sum()
    return _just_below(probability, probability[order][np.argmax(hits - alarms)])


def _just_below(probability: NDArray[np.floating], at: float) -> float:
    """Half-way to the next lower value, so that rounding in serving moves no image across."""
    lower = probability[probability < at]
    return float((at + lower.max(initial=0.0)) / 2)
