import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.heatmap import SIDE, draw_heatmap


def read(png: bytes) -> NDArray[np.int_]:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGBA")).astype(int)


def test_the_overlay_is_strongest_where_the_score_was_raised_most() -> None:
    cam = np.full((7, 7), -1, np.float32)
    cam[1, 5] = -0.4
    cam[5, 1] = -3
    alpha = read(draw_heatmap(cam))[..., 3]
    assert alpha.shape == (SIDE, SIDE)
    y, x = np.unravel_index(alpha.argmax(), alpha.shape)
    assert [y * 7 // SIDE, x * 7 // SIDE] == [1, 5]
    assert alpha[SIDE * 11 // 14, SIDE * 3 // 14] == 0


def test_the_photo_stays_visible_under_the_overlay() -> None:
    cam = np.eye(7, dtype=np.float32)
    assert read(draw_heatmap(cam))[..., 3].max() < 255


def test_the_overlay_does_not_depend_on_the_scale_of_the_contributions() -> None:
    cam = np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32)
    assert draw_heatmap(cam) == draw_heatmap(cam * 8)


def test_nothing_is_drawn_where_all_locations_are_equal() -> None:
    alpha = read(draw_heatmap(np.full((7, 7), -2, np.float32)))[..., 3]
    assert alpha.max() == 0
