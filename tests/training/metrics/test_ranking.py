import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from training.metrics.ranking import Ranking


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, scores with ties, and weights, zeros among them."""
    rng = np.random.default_rng(seed)
    target = np.append([0, 1], rng.integers(0, 2, rng.integers(5, 80)))
    weights = np.append([1, 1], rng.integers(0, 4, len(target) - 2))
    return target, np.round(rng.normal(target, 1), 1), weights


@pytest.mark.parametrize("seed", range(50))
def test_metrics_equal_scikit_learns(seed: int) -> None:
    target, score, weights = draw(seed)
    curve = Ranking(target, score).curve(weights)
    assert curve.auc() == pytest.approx(roc_auc_score(target, score, sample_weight=weights))
    assert curve.average_precision() == pytest.approx(
        average_precision_score(target, score, sample_weight=weights)
    )
    # scikit-learn has the part below a false positive rate, and scales it (McClish 1989).
    scaled = roc_auc_score(1 - target, -score, sample_weight=weights, max_fpr=0.2)
    assert curve.partial_auc(0.8) == pytest.approx(0.02 + (2 * scaled - 1) * 0.18)
    rates = roc_curve(target, score, sample_weight=weights, drop_intermediate=False)
    specificity, sensitivity = 1 - rates[0], rates[1]
    for level in (0.0, 0.5, 0.8, 0.9, 1.0):
        assert curve.sensitivity_at(level) == sensitivity[specificity >= level - 1e-9].max()
        assert curve.specificity_at(level) == specificity[sensitivity >= level - 1e-9].max()


def test_images_without_weight_count_as_absent() -> None:
    target, score, weights = draw(0)
    there = weights > 0
    absent = Ranking(target[there], score[there]).curve(weights[there])
    assert Ranking(target, score).curve(weights).auc() == pytest.approx(absent.auc())


def test_metrics_of_a_class_without_weight_are_undefined() -> None:
    target, score, _ = draw(0)
    curve = Ranking(target, score).curve(1 - target)
    assert np.isnan([curve.auc(), curve.partial_auc(0.8), curve.sensitivity_at(0.9)]).all()


def test_perfect_and_random_scores() -> None:
    target = np.repeat([0, 1], 50)
    perfect = Ranking(target, target).curve()
    assert perfect.partial_auc(0.8) == pytest.approx(0.2)
    assert perfect.specificity_at(1.0) == 1.0
    constant = Ranking(target, np.zeros(100)).curve()
    assert constant.partial_auc(0.8) == pytest.approx(0.02)
    assert constant.average_precision() == 0.5
