import numpy as np
import pandas as pd
import pytest

from training.serving.outliers import choose_fitted, choose_threshold, fit_normal, measure_distance

RNG = np.random.default_rng(0)
MIX = np.eye(20) + RNG.normal(0, 0.15, (20, 20))
SEEN = RNG.normal(size=(4000, 20)) @ MIX + 5


def test_the_distance_is_mahalanobis() -> None:
    normal = fit_normal(SEEN, kept=1)
    apart = SEEN[:50] - SEEN.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(np.cov(SEEN.T)), apart) / 20
    assert measure_distance(SEEN[:50], normal) == pytest.approx(exact, rel=0.05)


def test_two_in_a_hundred_new_points_of_the_fitted_kind_are_rejected() -> None:
    normal = fit_normal(SEEN)
    threshold = choose_threshold(measure_distance(RNG.normal(size=(4000, 20)) @ MIX + 5, normal))
    new = measure_distance(RNG.normal(size=(4000, 20)) @ MIX + 5, normal)
    assert (new > threshold).mean() == pytest.approx(0.02, abs=0.01)
    assert (measure_distance(RNG.normal(size=(100, 20)) * 9, normal) > threshold).all()


def test_each_collection_gives_the_same_number_of_images_to_fit_on() -> None:
    lesions = ["HAM_0000118"] * 5000 + ["MSK4_0011169"] * 1500 + [""] * 1200
    cases = pd.DataFrame({"source": "isic2019", "lesion_id": lesions})
    chosen = choose_fitted(cases.sample(frac=1, random_state=0))
    assert chosen["lesion_id"].value_counts().to_dict() == dict.fromkeys(set(lesions), 1200)


def test_a_small_collection_leaves_the_others_enough_to_fit_on() -> None:
    sources = ["a"] * 3000 + ["b"] * 10
    chosen = choose_fitted(pd.DataFrame({"source": sources, "lesion_id": ""}))
    assert chosen["source"].value_counts().to_dict() == {"a": 1000, "b": 10}
