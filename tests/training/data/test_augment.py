import numpy as np
import pytest
import tensorflow as tf

from processing.drawing import draw_lesion
from training.data.augment import augment_batch, degrade, draw_changes, draw_mixtures, mix
from training.recipe import NO_AUGMENTATION as OFF
from training.recipe import Augmentation

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


def with_only(**strength: float) -> Augmentation:
    return OFF.model_copy(update=strength)


def degrade_all(strength: Augmentation) -> np.ndarray:
    return np.stack(
        [degrade(tf.constant(image), strength, tf.constant([1, i], tf.int64)).numpy()
         for i, image in enumerate(IMAGES)]
    )  # fmt: skip


def roughness(images: np.ndarray) -> np.ndarray:
    """How much neighbouring pixels differ, (B,)."""
    return np.abs(np.diff(images.astype(np.float32), axis=2)).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("strength", [{"downscale": 3.0}, {"blur": 0.05}])
def test_fewer_pixels_and_blur_smooth_a_random_half_of_the_images(
    strength: dict[str, float],
) -> None:
    degraded = degrade_all(with_only(**strength))
    changed = (degraded != IMAGES).any(axis=(1, 2, 3))
    assert 4 <= changed.sum() <= 12
    assert (roughness(degraded)[changed] < roughness(IMAGES)[changed]).all()
    assert np.abs(degraded.astype(float) - IMAGES).mean() < 10  # still the same pictures


def test_jpeg_artefacts_are_those_of_a_quality_in_the_asked_range() -> None:
    degraded = degrade_all(with_only(jpeg=0.9))
    errors = np.abs(degraded.astype(float) - IMAGES).mean(axis=(1, 2, 3))
    assert 4 <= (errors > 0).sum() <= 12
    assert errors.max() < 12
    mild = np.abs(degrade_all(with_only(jpeg=0.3)).astype(float) - IMAGES).mean(axis=(1, 2, 3))
    assert mild.sum() < errors.sum()


def test_without_degradation_an_image_stays_as_it_is() -> None:
    assert (degrade_all(OFF) == IMAGES).all()


def test_the_aspect_ratio_changes_within_its_limits() -> None:
    stripes = np.zeros((16, 64, 64, 3), np.uint8)
    stripes[:, :, 24:40] = 255  # 16 wide
    wide = augment_batch(stripes, with_only(aspect=0.5), CHANGES).numpy().mean(axis=(1, 3))
    width = wide.sum(axis=1) / 255
    assert 16 / 1.5**0.5 - 1 < width.min() < 15
    assert 17 < width.max() < 16 * 1.5**0.5 + 1


def test_a_vignette_blackens_the_corners_of_the_asked_fraction_of_images() -> None:
    white = np.full((400, 32, 32, 3), 255, np.uint8)
    changes = draw_changes(len(white), tf.constant([0, 5], tf.int64))
    seen = augment_batch(white, with_only(vignette=0.25), changes).numpy()
    black = seen[:, 0, 0, 0] == 0
    assert 0.15 < black.mean() < 0.35
    assert (seen[:, 12:20, 12:20] == 255).all()  # the middle stays


def test_mixup_blends_neighbours_and_keeps_most_of_each_image() -> None:
    shares = draw_mixtures(16, with_only(mixup=0.4), tf.constant([0, 1], tf.int64)).numpy()
    assert (shares >= 0.5).all()
    assert shares.min() < 0.8
    images = IMAGES.astype(np.float32)
    others = images[np.arange(16) ^ 1]
    by = shares[:, None, None, None]
    np.testing.assert_allclose(
        mix(tf.constant(images), tf.constant(shares)), by * images + (1 - by) * others, atol=1e-3
    )


@pytest.mark.parametrize("wrong", [{"rotation_degrees": 200}, {"zoom": -0.1}, {"shift": 1}])
def test_a_strength_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)
