import numpy as np
import pytest
from scipy.special import expit

from training.serving.modality import fit_modality


def test_kinds_that_a_linear_function_separates_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    dermoscopic = np.arange(3000) % 10 > 0  # one in ten is a close-up
    embedding = rng.normal(5, [1, 10, 0.1], (3000, 3)) + dermoscopic[:, None] * [0, 0, 0.4]
    head = fit_modality(embedding[:2000], dermoscopic[:2000])
    told = expit(embedding[2000:] @ head.weights + head.bias) >= 0.5
    right = told == dermoscopic[2000:]
    for kind in (True, False):  # also the rare one
        assert right[dermoscopic[2000:] == kind].mean() == pytest.approx(0.97, abs=0.03)
