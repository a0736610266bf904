import numpy as np
import pytest

from training.serving.central import SIDE, measure_central


def test_the_share_in_the_centre_is_that_of_the_mass_above_the_median() -> None:
    cam = np.full((3, 10, 10), -4.0)
    cam[0, 4:6, 4:6] = 1  # all in the centre
    cam[1, 0, 0] = 7  # all outside
    cam[2, 1, 4:6] = 2  # the border of the centre halves these cells
    assert measure_central(cam) == pytest.approx([1, 0, 0.5])


def test_an_even_map_has_the_share_of_the_area() -> None:
    assert measure_central(np.zeros((1, 7, 7))) == pytest.approx([SIDE**2])
    noise = np.random.default_rng(0).normal(size=(4000, 7, 7))
    assert measure_central(noise).mean() == pytest.approx(SIDE**2, abs=0.01)
