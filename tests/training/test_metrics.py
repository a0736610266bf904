import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.errors import TrainingError
from training.metrics import auc, sensitivity, specificity

RNG = np.random.default_rng(0)
TARGET = np.repeat([0, 1], [300, 60])
SCORE = RNG.normal(TARGET * 1.5, 1)


def test_auc_is_scikit_learns_and_lies_in_its_interval() -> None:
    estimate = auc(TARGET, SCORE, np.arange(len(TARGET)))
    assert estimate.value == roc_auc_score(TARGET, SCORE)
    assert estimate.low < estimate.value < estimate.high


def test_images_of_one_lesion_widen_the_interval() -> None:
    apart = auc(TARGET, SCORE, np.arange(len(TARGET)))
    rows = np.repeat(np.arange(len(TARGET)), 4)
    together = auc(TARGET[rows], SCORE[rows], rows)
    as_if_apart = auc(TARGET[rows], SCORE[rows], np.arange(len(rows)))
    assert together.high - together.low > 1.5 * (as_if_apart.high - as_if_apart.low)
    assert together.high - together.low == pytest.approx(apart.high - apart.low, rel=0.2)


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(TrainingError, match="all 5 images are one class"):
        auc(np.zeros(5), np.arange(5), np.arange(5))


def test_sensitivity_and_specificity_count_what_they_say() -> None:
    target, positive = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 1, 1, 0, 0, 1])
    assert sensitivity(target, positive).value == 0.75
    assert specificity(target, positive).value == 0.5


def test_wilson_interval_of_a_perfect_score_is_not_a_point() -> None:
    # 10 of 10: 0.722 to 1 (Wilson 1927)
    estimate = sensitivity(np.ones(10), np.ones(10))
    assert (round(estimate.low, 3), estimate.high) == (0.722, 1.0)
