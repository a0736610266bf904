import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from processing.manifest import Estimate
from training.errors import TrainingError
from training.metrics.intervals import (
    Difference,
    auc,
    auc_difference,
    bootstrap,
    proportion,
    sensitivity,
    specificity,
)

RNG = np.random.default_rng(0)
TARGET = np.repeat([0, 1], [300, 60])
SCORE = RNG.normal(TARGET * 1.5, 1)


def test_auc_equals_scikit_learns_and_lies_in_its_interval() -> None:
    estimate = auc(TARGET, SCORE, np.arange(len(TARGET)))
    assert estimate.value == pytest.approx(roc_auc_score(TARGET, SCORE), abs=1e-12)
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


def test_a_score_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 scores are no numbers"):
        auc([0, 1, 1], [0.1, np.nan, 0.3], [0, 1, 2])


@pytest.mark.slow
def test_each_resample_equals_scikit_learns_auc_of_the_drawn_images() -> None:
    group = np.arange(len(TARGET)) // 3
    a, b = np.round(SCORE, 1), np.round(RNG.normal(SCORE, 1), 1)  # with ties
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(1000):
        weights = np.bincount(rng.integers(120, size=120), minlength=120)[group]
        of_a, of_b = (roc_auc_score(TARGET, s, sample_weight=weights) for s in (a, b))
        drawn.append((of_a, of_a - of_b))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    alone, paired = auc(TARGET, a, group, 7), auc_difference(TARGET, a, b, group, seed=7)
    assert (alone.low, paired.low) == pytest.approx(low, abs=1e-12)
    assert (alone.high, paired.high) == pytest.approx(high, abs=1e-12)
    assert paired.value == pytest.approx(roc_auc_score(TARGET, a) - roc_auc_score(TARGET, b))


def test_a_score_does_not_differ_from_itself() -> None:
    assert auc_difference(TARGET, SCORE, SCORE, np.arange(len(TARGET))) == Difference(0, 0, 0)


def test_a_better_score_differs_and_the_order_turns_the_sign() -> None:
    worse, group = RNG.normal(SCORE, 2), np.arange(len(TARGET))
    there = auc_difference(TARGET, SCORE, worse, group)
    back = auc_difference(TARGET, worse, SCORE, group)
    assert 0 < there.low < there.value < there.high
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low), abs=1e-12
    )


def test_a_paired_difference_is_narrower_than_the_two_scores_are() -> None:
    close, group = RNG.normal(SCORE, 0.2), np.arange(len(TARGET))
    difference, alone = auc_difference(TARGET, SCORE, close, group), auc(TARGET, SCORE, group)
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


@pytest.mark.slow
def test_the_interval_of_equal_models_covers_zero_at_its_level() -> None:
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(TARGET, 1), rng.normal(TARGET, 1)
        interval = auc_difference(TARGET, a, b, np.arange(len(TARGET)), level=0.8)
        held += interval.low < 0 < interval.high
    assert 26 <= held <= 38  # of 40 at 80 %: 32, give or take 2.5


def test_a_higher_level_gives_a_wider_interval() -> None:
    worse, group = RNG.normal(SCORE, 1), np.arange(len(TARGET))
    usual, wide = (auc_difference(TARGET, SCORE, worse, group, each) for each in (0.95, 0.99))
    assert wide.low < usual.low < usual.high < wide.high


def test_sensitivity_and_specificity_are_shares_of_their_class() -> None:
    target, positive = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 1, 1, 0, 0, 1])
    assert sensitivity(target, positive, np.arange(6)).value == 0.75
    assert specificity(target, positive, np.arange(6)).value == 0.5


def test_wilson_interval_of_a_perfect_score_is_not_a_point() -> None:
    # 10 of 10: 0.722 to 1 (Wilson 1927)
    estimate = sensitivity(np.ones(10), np.ones(10), np.arange(10))
    assert (estimate.low, estimate.high) == pytest.approx((0.722, 1.0), abs=5e-4)


def test_the_interval_of_single_images_equals_wilsons() -> None:
    success = np.arange(80) < 60
    wilson = binomtest(60, 80).proportion_ci(method="wilson")
    estimate = proportion(success, np.arange(80))
    # Groups of one image are as many as images, but for the n - 1 in the variance.
    assert (estimate.low, estimate.high) == pytest.approx((wilson.low, wilson.high), abs=2e-3)


def test_ten_equal_images_of_a_lesion_count_as_one() -> None:
    lesions = np.arange(80) < 60
    apart = proportion(lesions, np.arange(80))
    together = proportion(np.repeat(lesions, 10), np.repeat(np.arange(80), 10))
    assert tuple(together.model_dump().values()) == pytest.approx(
        tuple(apart.model_dump().values()), abs=1e-9
    )


def test_resamples_that_leave_a_metric_undefined_are_ignored_for_it() -> None:
    target = np.array([1, 0, 0, 0])

    def of_positives(weights: NDArray[np.int64]) -> dict[str, float]:
        positives = (weights * target).sum()
        return {"any": 1.0 if positives else float("nan")}

    assert bootstrap(of_positives, np.arange(4))["any"] == Estimate(value=1, low=1, high=1)


def test_groups_of_the_same_share_count_as_independent_images() -> None:
    success = np.tile([True, False], 4)
    together = proportion(success, np.repeat(np.arange(4), 2))
    assert together == proportion(success, np.zeros(8))
