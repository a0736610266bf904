import numpy as np
import pandas as pd
import pytest

from training.serving.outliers import choose_fitted, choose_threshold, fit_normal, measure_distance

RNG = np.random.default_rng(0)
MIX = np.eye(20) + RNG.normal(0, 0.15, (20, 20))
SEEN = RNG.normal(size=(4000, 20)) @ MIX + 5
ONE_KIND = np.zeros(4000, int)
TARGET = pd.Series(np.arange(4000) % 2)


def test_the_distance_is_mahalanobis() -> None:
    normal = fit_normal(SEEN, ONE_KIND, kept=1)
    apart = SEEN[:50] - SEEN.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(np.cov(SEEN.T)), apart) / 20
    assert measure_distance(SEEN[:50], normal) == pytest.approx(exact, rel=0.05)


def test_two_in_a_hundred_new_points_of_the_fitted_kind_are_rejected() -> None:
    normal = fit_normal(SEEN, ONE_KIND)
    distance = measure_distance(RNG.normal(size=(4000, 20)) @ MIX + 5, normal)
    threshold = choose_threshold(pd.Series(distance), pd.Series("a", range(4000)), TARGET)
    new = measure_distance(RNG.normal(size=(4000, 20)) @ MIX + 5, normal)
    assert (new > threshold).mean() == pytest.approx(0.02, abs=0.01)
    assert (measure_distance(RNG.normal(size=(100, 20)) * 9, normal) > threshold).all()


def test_each_collection_gives_the_same_number_of_images_to_fit_on() -> None:
    lesions = ["HAM_0000118"] * 5000 + ["MSK4_0011169"] * 1500 + [""] * 1200
    cases = pd.DataFrame({"source": "isic2019", "lesion_id": lesions, "modality": "dermoscopic"})
    chosen = choose_fitted(cases.sample(frac=1, random_state=0))
    assert chosen["lesion_id"].value_counts().to_dict() == dict.fromkeys(set(lesions), 1200)


def test_a_small_collection_leaves_the_others_enough_to_fit_on() -> None:
    sources = ["a"] * 3000 + ["b"] * 10
    chosen = choose_fitted(pd.DataFrame({"source": sources, "lesion_id": "", "modality": ""}))
    assert chosen["source"].value_counts().to_dict() == {"a": 1000, "b": 10}


def test_both_kinds_of_photo_of_one_collection_are_fitted_on() -> None:
    kinds = ["dermoscopic"] * 3000 + ["close-up"] * 500
    chosen = choose_fitted(pd.DataFrame({"source": "a", "lesion_id": "", "modality": kinds}))
    assert chosen["modality"].value_counts().to_dict() == {"dermoscopic": 1000, "close-up": 500}


def test_the_distance_is_from_the_nearer_kind() -> None:
    apart = np.where(np.arange(20) == 3, 9, 0)
    both = fit_normal(np.concatenate([SEEN, SEEN + apart]), np.repeat([0, 1], 4000))
    alone = fit_normal(SEEN, ONE_KIND)
    one, other = measure_distance(SEEN, both), measure_distance(SEEN + apart, both)
    assert one == pytest.approx(other, rel=1e-3)
    assert np.quantile(one, 0.98) == pytest.approx(
        np.quantile(measure_distance(SEEN, alone), 0.98), rel=0.05
    )


def test_the_threshold_spares_melanomas_and_every_source_alike() -> None:
    target = pd.Series([0] * 4000 + [1] * 400 + [0] * 50)
    source = pd.Series(["a"] * 4400 + ["b"] * 50)  # too few of "b" to tell
    distance = pd.Series(
        np.concatenate([RNG.uniform(0, 1, 4000), RNG.uniform(0, 2, 400), [9] * 50])
    )
    threshold = choose_threshold(distance, source, target)
    assert threshold == pytest.approx(1.96, abs=0.05)
