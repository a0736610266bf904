"""AUC, sensitivity and specificity with their 95 % intervals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from processing.bundle import Estimate
from training.errors import TrainingError

RESAMPLES = 1000
INTERVAL_METHOD = f"percentile bootstrap over patients or lesions, {RESAMPLES} resamples"


def auc(target: ArrayLike, score: ArrayLike, group: ArrayLike, seed: int = 0) -> Estimate:
    """Area under the ROC curve; the interval resamples groups, since their images go together.

    Args:
        target: (N,) 0 or 1.
        score: (N,) higher means more likely 1.
        group: (N,) patient, lesion or image.

    Raises:
        TrainingError: only one class is there, which leaves the AUC undefined.
    """
    target, score = np.asarray(target), np.asarray(score)
    if len(np.unique(target)) < 2:
        raise TrainingError(f"AUC needs both classes; all {len(target)} images are one class.")
    draws = [
        roc_auc_score(target[rows], score[rows])
        for rows in _resample_groups(np.asarray(group), seed)
        if len(np.unique(target[rows])) == 2
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value=roc_auc_score(target, score), low=low, high=high)


def _resample_groups(group: NDArray[Any], seed: int) -> Iterator[NDArray[np.int64]]:
    """`RESAMPLES` arrays of row numbers, each drawing whole groups with replacement."""
    rng = np.random.default_rng(seed)
    _, codes = np.unique(group, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    for _ in range(RESAMPLES):
        yield np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def sensitivity(target: ArrayLike, positive: ArrayLike) -> Estimate:
    """Of the melanomas, the part called malignant; Wilson score interval."""
    target, positive = np.asarray(target, bool), np.asarray(positive, bool)
    return _proportion(int((target & positive).sum()), int(target.sum()))


def specificity(target: ArrayLike, positive: ArrayLike) -> Estimate:
    """Of the others, the part called benign; Wilson score interval."""
    target, positive = np.asarray(target, bool), np.asarray(positive, bool)
    return _proportion(int((~target & ~positive).sum()), int((~target).sum()))


def _proportion(successes: int, trials: int) -> Estimate:
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return Estimate(value=successes / trials, low=interval.low, high=interval.high)
