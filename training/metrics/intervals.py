"""AUC, sensitivity and specificity with intervals, and the difference of two AUCs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from processing.manifest import Estimate
from training.metrics.ranking import Ranking

RESAMPLES = 1000  # for a 95 % interval, so that 25 lie beyond each limit
INTERVAL_METHOD = f"percentile bootstrap over patients or lesions, {RESAMPLES} resamples"
PROPORTION_METHOD = "Wilson score of the effective number of images, over patients or lesions"


@dataclass(frozen=True)
class Difference:
    """One AUC minus another, -1..1, with its interval."""

    value: float
    low: float
    high: float


def auc(target: ArrayLike, score: ArrayLike, group: ArrayLike, seed: int = 0) -> Estimate:
    """Compute the area under the ROC curve.

    The interval is the percentile bootstrap of Efron & Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 13. It resamples groups, since the images of one group are not independent.

    Args:
        target: (N,) 0 or 1.
        score: (N,) higher means more likely 1; or (N, S), of which the mean of S AUCs is computed.
        group: (N,) patient, lesion or image.

    Raises:
        TrainingError: all images are of one class, so the AUC is undefined.
    """
    mean_auc = _make_mean_auc(target, score)
    return bootstrap(lambda weights: {"AUC": mean_auc(weights)}, group, seed)["AUC"]


def _make_mean_auc(
    target: ArrayLike, score: ArrayLike
) -> Callable[[NDArray[np.int64] | None], float]:
    """Make a function of weights (N,) or None that computes the mean AUC of each column."""
    rankings = [Ranking(target, column) for column in np.atleast_2d(np.asarray(score).T)]
    return lambda weights: float(np.mean([each.curve(weights).auc() for each in rankings]))


def bootstrap(
    measure: Callable[[NDArray[np.int64]], dict[str, float]], group: ArrayLike, seed: int = 0
) -> dict[str, Estimate]:
    """Compute the intervals of some metrics from the same resamples of groups.

    Resamples in which a metric is undefined (NaN) are ignored for that metric. A metric that is
    undefined on the images themselves is left out.

    Args:
        measure: returns metrics, 0..1, by name, for images weighted by (N,).
        group: (N,) patient, lesion or image.
    """
    values = measure(np.ones(len(np.asarray(group)), np.int64))
    draws = [measure(weights) for weights in _resample_groups(group, seed, RESAMPLES)]
    estimates = {}
    for name, value in values.items():
        if not np.isnan(value):
            low, high = _limits([draw[name] for draw in draws], 0.95)
            estimates[name] = Estimate(value=value, low=low, high=high)
    return estimates


def auc_difference(
    target: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    group: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Compute the AUC of the scores `a` minus that of the scores `b`, on the same images.

    The bootstrap is paired: each resample of groups is scored by both, so what makes images easy
    or hard for both cancels out. The interval is the percentile interval (Efron & Tibshirani 1993,
    chapter 13). A `level` above 0.95 takes more resamples, so that equally many lie beyond the
    limits.

    Args:
        target: (N,) 0 or 1.
        a, b: (N,) higher means more likely 1; or (N, S), of which the mean of S AUCs is taken.
        group: (N,) patient, lesion or image.
        level: confidence level of the interval, 0..1.

    Raises:
        TrainingError: all images are of one class, so the AUC is undefined.
    """
    mean_a, mean_b = _make_mean_auc(target, a), _make_mean_auc(target, b)

    def difference(weights: NDArray[np.int64] | None = None) -> float:
        return mean_a(weights) - mean_b(weights)

    resamples = max(RESAMPLES, round(RESAMPLES * 0.05 / (1 - level)))
    draws = [difference(weights) for weights in _resample_groups(group, seed, resamples)]
    return Difference(difference(), *_limits(draws, level))


@dataclass(frozen=True)
class DeLong(Difference):
    """A difference with the two-sided p-value under the hypothesis of no difference."""

    p: float


def delong(target: ArrayLike, a: ArrayLike, b: ArrayLike) -> DeLong:
    """Compare the AUCs of the scores `a` and `b` on the same images (DeLong et al. 1988).

    The method takes images as independent. Where several show one patient or lesion, its interval
    is too narrow; use that of `auc_difference`.

    Args:
        target: (N,) 0 or 1, at least two of each.
        a, b: (N,) higher means more likely 1.
    """
    positive = np.asarray(target) == 1
    scores = np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    of_positives, of_others = scores[:, positive], scores[:, ~positive]
    # Structural components by ranks (Sun & Xu 2014): for each positive, the share of the others
    # that it exceeds; for each other, the share of the positives that exceed it.
    together = rankdata(np.concatenate([of_positives, of_others], axis=1), axis=1)
    m, n = of_positives.shape[1], of_others.shape[1]
    exceeds = (together[:, :m] - rankdata(of_positives, axis=1)) / n
    exceeded = 1 - (together[:, m:] - rankdata(of_others, axis=1)) / m
    value = float(exceeds[0].mean() - exceeds[1].mean())
    covariance = np.cov(exceeds) / m + np.cov(exceeded) / n
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if error == 0:
        return DeLong(value, value, value, 1.0 if value == 0 else 0.0)
    half = float(norm.ppf(0.975)) * error
    return DeLong(value, value - half, value + half, float(2 * norm.sf(abs(value) / error)))


def _limits(draws: list[float], level: float) -> tuple[float, float]:
    outside = (1 - level) / 2
    low, high = np.nanquantile(draws, [outside, 1 - outside])
    return float(low), float(high)


def _resample_groups(group: ArrayLike, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Draw whole groups with replacement, and yield how often each image (N,) is drawn."""
    rng = np.random.default_rng(seed)
    names, codes = np.unique(np.asarray(group), return_inverse=True)
    for _ in range(resamples):
        drawn = rng.integers(len(names), size=len(names))
        yield np.bincount(drawn, minlength=len(names))[codes]


def sensitivity(target: ArrayLike, positive: ArrayLike, group: ArrayLike) -> Estimate:
    """Compute the share of the positives that is called positive, like `proportion`."""
    chosen = np.asarray(target, bool)
    return proportion(np.asarray(positive, bool)[chosen], np.asarray(group)[chosen])


def specificity(target: ArrayLike, positive: ArrayLike, group: ArrayLike) -> Estimate:
    """Compute the share of the others that is not called positive, like `proportion`."""
    chosen = ~np.asarray(target, bool)
    return proportion(~np.asarray(positive, bool)[chosen], np.asarray(group)[chosen])


def proportion(success: NDArray[np.bool_], group: NDArray[Any]) -> Estimate:
    """Compute the share of images that succeed, and its Wilson score interval.

    The interval uses the effective number of images, which is lower than their number where images
    of one group agree, and never higher (Korn & Graubard, Survey Methodology 24, 1998).

    Args:
        success: (N,), N > 0.
        group: (N,) patient, lesion or image.
    """
    images, value = len(success), float(success.mean())
    groups, codes = np.unique(group, return_inverse=True)
    effective = float(images)
    if 0 < value < 1 and len(groups) > 1:
        of_groups = np.bincount(codes, success - value)
        variance = len(groups) / (len(groups) - 1) * np.sum(of_groups**2) / images**2
        if variance > 0:  # it is 0 where all groups have the same share
            effective = min(effective, value * (1 - value) / variance)
    z = norm.ppf(0.975)
    centre = (value + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z * np.sqrt(value * (1 - value) / effective + (z / (2 * effective)) ** 2)
    half /= 1 + z**2 / effective
    return Estimate(value=value, low=max(0.0, centre - half), high=min(1.0, centre + half))
