import numpy as np
import pytest
import tensorflow as tf

from processing.drawing import draw_lesion
from training.data.augment import augment_batch, draw_changes
from training.recipe import Augmentation

OFF = Augmentation(
    rotation_degrees=0, shear_degrees=0, zoom=0, shift=0, flips=False,
    brightness=0, contrast=0, saturation=0,
)  # fmt: skip
IMAGES = np.stack([draw_lesion(seed, 64, irregular=True) for seed in range(16)])
CHANGES = draw_changes(len(IMAGES), tf.constant([0, 1], tf.int64))


def test_all_strengths_at_zero_leave_the_image() -> None:
    assert np.abs(augment_batch(IMAGES, OFF, CHANGES).numpy() - IMAGES).max() < 1e-2


def test_flips_alone_give_each_of_the_four_mirror_images() -> None:
    flipped = augment_batch(IMAGES, OFF.model_copy(update={"flips": True}), CHANGES).numpy()
    mirrors = [IMAGES, IMAGES[:, ::-1], IMAGES[:, :, ::-1], IMAGES[:, ::-1, ::-1]]
    found = [[np.abs(flipped[i] - m[i]).max() < 1e-2 for m in mirrors] for i in range(len(IMAGES))]
    assert (np.sum(found, axis=1) == 1).all()
    assert np.any(found, axis=0).all()


def test_values_stay_in_range_at_full_strength() -> None:
    strong = Augmentation(brightness=0.9, contrast=0.9, saturation=0.9, zoom=0.5, shear_degrees=30)
    out = augment_batch(IMAGES, strong, CHANGES).numpy()
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 255


def test_the_seed_repeats_the_draws() -> None:
    one, same, other = (
        draw_changes(8, tf.constant([0, step], tf.int64)).numpy() for step in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).all()


def test_an_image_is_changed_by_its_own_draw_whatever_the_batch() -> None:
    strong = Augmentation(cutout=0.3)
    alone = augment_batch(IMAGES[4:8], strong, CHANGES[4:8]).numpy()
    np.testing.assert_allclose(augment_batch(IMAGES, strong, CHANGES)[4:8], alone, atol=1e-3)


def test_cutout_blanks_one_square_of_each_image() -> None:
    cut = augment_batch(IMAGES, OFF.model_copy(update={"cutout": 0.5}), CHANGES).numpy()
    for before, after in zip(IMAGES, cut, strict=True):
        changed = np.abs(after - before).max(axis=-1) > 1e-2
        rows, columns = changed.any(axis=1), changed.any(axis=0)
        assert 0 < rows.sum() <= 33
        assert 0 < columns.sum() <= 33
        blank = after[changed]
        assert np.ptp(blank, axis=0).max() < 1e-2


@pytest.mark.parametrize("wrong", [{"rotation_degrees": 200}, {"zoom": -0.1}, {"shift": 1}])
def test_a_strength_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)
