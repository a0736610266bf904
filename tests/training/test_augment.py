import numpy as np
import pytest
import tensorflow as tf

from processing.drawing import draw_lesion
from training.augment import Augmentation, augment_batch

OFF = Augmentation(
    rotation_degrees=0, shear_degrees=0, zoom=0, shift=0, flips=False,
    brightness=0, contrast=0, saturation=0,
)  # fmt: skip
SEED = tf.constant([0, 1], tf.int64)
IMAGES = np.stack([draw_lesion(seed, 64, irregular=True) for seed in range(16)])


def test_all_strengths_at_zero_leave_the_image() -> None:
    assert np.abs(augment_batch(IMAGES, OFF, SEED).numpy() - IMAGES).max() < 1e-2


def test_flips_alone_give_each_of_the_four_mirror_images() -> None:
    flipped = augment_batch(IMAGES, OFF.model_copy(update={"flips": True}), SEED).numpy()
    mirrors = [IMAGES, IMAGES[:, ::-1], IMAGES[:, :, ::-1], IMAGES[:, ::-1, ::-1]]
    found = [[np.abs(flipped[i] - m[i]).max() < 1e-2 for m in mirrors] for i in range(len(IMAGES))]
    assert (np.sum(found, axis=1) == 1).all()
    assert np.any(found, axis=0).all()


def test_values_stay_in_range_at_full_strength() -> None:
    strong = Augmentation(brightness=0.9, contrast=0.9, saturation=0.9, zoom=0.5, shear_degrees=30)
    out = augment_batch(IMAGES, strong, SEED).numpy()
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 255


def test_the_seed_repeats_the_draws() -> None:
    one, two = (augment_batch(IMAGES, Augmentation(), SEED).numpy() for _ in range(2))
    assert (one == two).all()


@pytest.mark.parametrize("wrong", [{"rotation_degrees": 200}, {"zoom": -0.1}, {"shift": 1}])
def test_a_strength_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)
