"""Calibration and thresholds, both chosen on out-of-fold predictions only."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from processing.bundle import Calibration, OperatingPoint
from training.errors import TrainingError
from training.metrics.intervals import sensitivity, specificity

_SENSITIVITIES = (0.95, 0.90)
# The operating point that decides the label. For a lay person's first look, a missed melanoma costs
# more than a visit to a doctor.
OPERATING_POINT = "sensitivity 0.95"


def fit_calibration(oof: pd.DataFrame, data: str) -> Calibration:
    """Fit probability = sigmoid(slope * logit + intercept) (Platt 1999).

    A slope alone would not be enough: the positive weight of the loss shifts every logit upwards.

    Args:
        oof: columns logit and target.
        data: description of the predictions, for the manifest.

    Raises:
        TrainingError: the logits do not rise with the target, so they cannot be calibrated.
    """
    slope, intercept = _fit_line(oof["logit"].to_numpy(), oof["target"].to_numpy())
    if slope <= 0:
        raise TrainingError(
            f"Calibration: on {data} higher logits are not more often positive (slope "
            f"{slope:.3g}). The model has learned nothing: train it longer or on more images."
        )
    return Calibration(slope=slope, intercept=intercept, fitted_on=data)


def _fit_line(
    logit: NDArray[np.floating], target: NDArray[np.integer], shift: bool = True
) -> tuple[float, float]:
    """Fit slope and, with `shift`, intercept of a sigmoid by maximum likelihood."""
    fit = LogisticRegression(C=np.inf, fit_intercept=shift).fit(logit[:, None], target)
    return float(fit.coef_[0, 0]), float(np.ravel(fit.intercept_)[0])


def calibrate(logit: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """Turn logits (N,) into probabilities (N,)."""
    probability: NDArray[np.float64] = expit(calibration.slope * logit + calibration.intercept)
    return probability


@dataclass(frozen=True)
class CalibrationCheck:
    """How well one way to calibrate does on folds that it was not fitted on; lower is better."""

    way: str
    log_loss: float
    brier: float


def compare_calibrations(oof: pd.DataFrame) -> list[CalibrationCheck]:
    """Compare ways to calibrate, each fitted on all folds but one and measured on that one.

    Args:
        oof: columns logit, target, fold; two folds or more.
    """
    logit, target, fold = (oof[name].to_numpy() for name in ("logit", "target", "fold"))
    made = {"none": expit(logit), **{way: np.empty(len(oof)) for way in _WAYS}}
    for each in np.unique(fold):
        here, others = fold == each, fold != each
        for way, fit in _WAYS.items():
            made[way][here] = fit(logit[others], target[others])(logit[here])
    return [
        CalibrationCheck(way, log_loss(target, probability), brier_score_loss(target, probability))
        for way, probability in made.items()
    ]


_Fit = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def _fit_temperature(logit: NDArray[np.floating], target: NDArray[np.integer]) -> _Fit:
    slope, _ = _fit_line(logit, target, shift=False)
    return lambda other: expit(slope * other)


def _fit_platt(logit: NDArray[np.floating], target: NDArray[np.integer]) -> _Fit:
    slope, intercept = _fit_line(logit, target)
    return lambda other: expit(slope * other + intercept)


def _fit_isotonic(logit: NDArray[np.floating], target: NDArray[np.integer]) -> _Fit:
    # Not to 0 and 1, where one image on the wrong side would make the loss infinite.
    fit = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip").fit(logit, target)
    return fit.predict  # type: ignore[no-any-return]


_WAYS = {"temperature": _fit_temperature, "Platt": _fit_platt, "isotonic": _fit_isotonic}


def choose_operating_points(oof: pd.DataFrame, data: str) -> tuple[OperatingPoint, ...]:
    """Choose thresholds: one for each of `_SENSITIVITIES`, and one with the largest Youden index.

    Args:
        oof: columns target, probability, group.
        data: description of the predictions, for the manifest.
    """
    target, probability = oof["target"].to_numpy(), oof["probability"].to_numpy()
    thresholds = {
        f"sensitivity {level:.2f}": _threshold_of_sensitivity(target, probability, level)
        for level in _SENSITIVITIES
    }
    thresholds["balanced"] = _threshold_of_youden(target, probability)
    return tuple(
        OperatingPoint(
            name=name,
            threshold=threshold,
            sensitivity=sensitivity(target, probability >= threshold, oof["group"]),
            specificity=specificity(target, probability >= threshold, oof["group"]),
            measured_on=data,
        )
        for name, threshold in thresholds.items()
    )


def _threshold_of_sensitivity(
    target: NDArray[np.integer], probability: NDArray[np.floating], level: float
) -> float:
    """Find the highest threshold with a sensitivity of at least `level`."""
    positives = np.sort(probability[target == 1])
    missed = int(np.floor((1 - level) * len(positives) + 1e-9))
    return _just_below(probability, positives[missed])


def _threshold_of_youden(target: NDArray[np.integer], probability: NDArray[np.floating]) -> float:
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(target[order] == 1) / (target == 1).sum()
    alarms = np.cumsum(target[order] == 0) / (target == 0).sum()
    return _just_below(probability, probability[order][np.argmax(hits - alarms)])


def _just_below(probability: NDArray[np.floating], at: float) -> float:
    """Go half-way to the next lower value, so that rounding in serving moves no image across."""
    lower = probability[probability < at]
    return float((at + lower.max(initial=0.0)) / 2)
