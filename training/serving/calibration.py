"""Calibration and thresholds, both chosen on out-of-fold predictions only.

What is fitted on all folds is served. What is reported of it is cross-fitted: measured on each fold
with the calibration and the thresholds that the other folds choose (Chernozhukov et al. 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from processing.manifest import Calibration, OperatingPoint
from training.errors import TrainingError
from training.metrics.intervals import sensitivity, specificity

_SENSITIVITIES, _SPECIFICITY = (0.95, 0.90), 0.90
# The operating point that decides the label. For a lay person's first look, a missed melanoma costs
# more than a visit to a doctor.
OPERATING_POINT = "sensitivity 0.95"
# Column of out-of-fold predictions: the probability by the calibration of the other folds.
HELD_OUT = "probability_held_out"


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
    target = oof["target"].to_numpy()
    made = {"none": expit(oof["logit"].to_numpy())}
    made |= {way: _calibrate_held_out(oof, fit) for way, fit in _WAYS.items()}
    return [
        CalibrationCheck(way, log_loss(target, probability), brier_score_loss(target, probability))
        for way, probability in made.items()
    ]


_Fit = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def _calibrate_held_out(
    oof: pd.DataFrame, fit: Callable[[NDArray[np.floating], NDArray[np.integer]], _Fit]
) -> NDArray[np.float64]:
    """Calibrate the logits (N,) of each fold by what is fitted on the others."""
    logit, target, fold = (oof[name].to_numpy() for name in ("logit", "target", "fold"))
    probability = np.empty(len(oof))
    for each in np.unique(fold):
        here, others = fold == each, fold != each
        probability[here] = fit(logit[others], target[others])(logit[here])
    return probability


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


def cross_fit(oof: pd.DataFrame) -> pd.DataFrame:
    """Add what the other folds alone choose for each image, so that figures are out of sample.

    Args:
        oof: columns logit, target, probability, fold; two folds or more, each with both classes.

    Returns:
        `oof` with `HELD_OUT`, and for each operating point the column `name_threshold` of its name.
    """
    added = {HELD_OUT: _calibrate_held_out(oof, _fit_platt)}
    fold = oof["fold"].to_numpy()
    for each in np.unique(fold):
        for name, threshold in _choose_thresholds(oof[fold != each]).items():
            added.setdefault(name_threshold(name), np.empty(len(oof)))[fold == each] = threshold
    return oof.assign(**added)


def name_threshold(operating_point: str) -> str:
    """Name the column of `cross_fit` with the thresholds of an operating point."""
    return f"threshold for {operating_point}"


def choose_operating_points(oof: pd.DataFrame, data: str) -> tuple[OperatingPoint, ...]:
    """Choose thresholds: for `_SENSITIVITIES`, the largest Youden index, and `_SPECIFICITY`.

    Each is chosen on all folds; its sensitivity and specificity are measured on each fold at the
    threshold that the others choose, since at its own a fold would do too well.

    Args:
        oof: as `cross_fit` returns it, with the column group.
        data: description of the predictions, for the manifest.
    """
    target, probability = oof["target"].to_numpy(), oof["probability"].to_numpy()
    thresholds = _choose_thresholds(oof)
    called = {name: probability >= oof[name_threshold(name)].to_numpy() for name in thresholds}
    return tuple(
        OperatingPoint(
            name=name,
            threshold=threshold,
            sensitivity=sensitivity(target, called[name], oof["group"]),
            specificity=specificity(target, called[name], oof["group"]),
            measured_on=data,
            images=len(target),
            positives=int(target.sum()),
        )
        for name, threshold in thresholds.items()
    )


def _choose_thresholds(oof: pd.DataFrame) -> dict[str, float]:
    target, probability = oof["target"].to_numpy(), oof["probability"].to_numpy()
    thresholds = {
        f"sensitivity {level:.2f}": _threshold_of_sensitivity(target, probability, level)
        for level in _SENSITIVITIES
    }
    return thresholds | {
        "balanced": _threshold_of_youden(target, probability),
        f"specificity {_SPECIFICITY:.2f}": _threshold_of_specificity(
            target, probability, _SPECIFICITY
        ),
    }


def _threshold_of_sensitivity(
    target: NDArray[np.integer], probability: NDArray[np.floating], level: float
) -> float:
    """Find the highest threshold with a sensitivity of at least `level`."""
    positives = np.sort(probability[target == 1])
    missed = int(np.floor((1 - level) * len(positives) + 1e-9))
    return _just_below(probability, positives[missed])


def _threshold_of_specificity(
    target: NDArray[np.integer], probability: NDArray[np.floating], level: float
) -> float:
    """Find a threshold with a specificity of at least `level`, and no higher than that needs."""
    negatives = np.sort(probability[target == 0])
    alarms = int(np.floor((1 - level) * len(negatives) + 1e-9))
    above = probability[probability > negatives[-alarms - 1]]
    return _just_below(probability, above.min(initial=1.0))


def _threshold_of_youden(target: NDArray[np.integer], probability: NDArray[np.floating]) -> float:
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(target[order] == 1) / (target == 1).sum()
    alarms = np.cumsum(target[order] == 0) / (target == 0).sum()
    return _just_below(probability, probability[order][np.argmax(hits - alarms)])


def _just_below(probability: NDArray[np.floating], at: float) -> float:
    """Go half-way to the next lower value, so that rounding in serving moves no image across."""
    lower = probability[probability < at]
    return float((at + lower.max(initial=0.0)) / 2)
