"""Augment a batch: random geometry in one affine resampling, then random light and colour."""

import math

import tensorflow as tf

from training.recipe import Augmentation

_DRAWS = 12


def draw_changes(images: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw random numbers (images, D) in -1..1, one row per image of a batch.

    Args:
        seed: (2,) int64; the same seed gives the same draws.
    """
    return tf.random.stateless_uniform([images, _DRAWS], seed, -1.0, 1.0)


def augment_batch(images: tf.Tensor, strength: Augmentation, changes: tf.Tensor) -> tf.Tensor:
    """Augment each image by its own draw.

    Args:
        images: (B, S, S, 3) uint8 or float, 0..255.
        changes: (B, D) of `draw_changes`.

    Returns:
        (B, S, S, 3) float32, 0..255.
    """
    draws = tf.unstack(changes, _DRAWS, axis=1)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=_make_transforms(draws[:7], strength, tf.cast(tf.shape(images)[1], tf.float32)),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",  # black corners would show how far an image was rotated
    )
    varied = _vary_colour(moved, draws[7:10], strength)
    return _cut_out(varied, draws[10:], strength.cutout) if strength.cutout else varied


def _make_transforms(draws: list[tf.Tensor], strength: Augmentation, side: tf.Tensor) -> tf.Tensor:
    """Return (B, 8): maps from output to input pixels, as ImageProjectiveTransformV3 takes them."""
    angle = draws[0] * math.radians(strength.rotation_degrees)
    shear = tf.tan(draws[1] * math.radians(strength.shear_degrees))
    scale = (1 + strength.zoom) ** draws[2]
    flip_x, flip_y = (
        tf.where(draw < 0, -1.0, 1.0) if strength.flips else tf.ones_like(draw)
        for draw in draws[3:5]
    )
    # rotation @ shear @ flips / scale
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = cos * flip_x / scale, (cos * shear - sin) * flip_y / scale
    c, d = sin * flip_x / scale, (sin * shear + cos) * flip_y / scale
    centre = (side - 1) / 2
    dx, dy = (draw * strength.shift * side for draw in draws[5:7])
    zero = tf.zeros_like(a)
    rows = [a, b, centre - (a + b) * centre + dx, c, d, centre - (c + d) * centre + dy, zero, zero]
    return tf.stack(rows, axis=1)


def _vary_colour(images: tf.Tensor, draws: list[tf.Tensor], strength: Augmentation) -> tf.Tensor:
    brightness, contrast, saturation = (
        tf.reshape(1 + draw * amount, [-1, 1, 1, 1])
        for draw, amount in zip(
            draws, (strength.brightness, strength.contrast, strength.saturation), strict=True
        )
    )
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    mean = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    saturated = grey + saturation * (images - grey)
    return tf.clip_by_value((mean + contrast * (saturated - mean)) * brightness, 0.0, 255.0)


def _cut_out(images: tf.Tensor, draws: list[tf.Tensor], share: float) -> tf.Tensor:
    """Blank one square of each image, centred anywhere (DeVries & Taylor 2017).

    The square has the mean colour of the image: black would look like the marks and rims that some
    photos have.
    """
    side = tf.cast(tf.shape(images)[1], tf.float32)
    pixels = tf.range(side)[None]  # (1, S)
    in_y, in_x = (
        tf.abs(pixels - (draw[:, None] + 1) / 2 * (side - 1)) < share * side / 2 for draw in draws
    )
    inside = in_y[:, :, None, None] & in_x[:, None, :, None]
    return tf.where(inside, tf.reduce_mean(images, axis=(1, 2), keepdims=True), images)
