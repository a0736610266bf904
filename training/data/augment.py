"""Augment images: worse cameras and files, geometry in one affine resampling, light, mixtures."""

import functools
import math

import tensorflow as tf

from training.recipe import Augmentation

_DRAWS = 12
_MORE_DRAWS = 5  # apart from the first, whose values must not depend on how many there are
_VIGNETTE_RADII = (0.75, 1.15)  # of half the side: from deep within the image to its corners alone


def degrade(image: tf.Tensor, strength: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Degrade an image as other cameras and uploads do: fewer pixels, blur, JPEG artefacts.

    Each change is left out for a random half of the images.

    Args:
        image: (S, S, 3) uint8.
        seed: (2,) int64; the same seed gives the same changes.

    Returns:
        (S, S, 3) uint8.
    """
    changes = (
        (strength.downscale, _shrink),
        (strength.blur, _blur),
        (strength.jpeg, _compress),
    )
    draws = tf.random.stateless_uniform([len(changes)], tf.random.fold_in(seed, 2), -1.0, 1.0)
    for draw, (most, change) in zip(tf.unstack(draws), changes, strict=True):
        if most:
            degraded = functools.partial(change, image, most, draw)
            image = tf.cond(draw > 0, degraded, functools.partial(tf.identity, image))
    return image


def _shrink(image: tf.Tensor, most: float, draw: tf.Tensor) -> tf.Tensor:
    """Resize (S, S, 3) to as little as 1 / (1 + most) of its side, and back."""
    side = image.shape[0]
    small = tf.cast(tf.round(side / (1 + most * draw)), tf.int32)
    shrunk = tf.image.resize(image, tf.stack([small, small]), "area")
    return _round(tf.image.resize(shrunk, (side, side), "bicubic"))


def _blur(image: tf.Tensor, most: float, draw: tf.Tensor) -> tf.Tensor:
    """Blur (S, S, 3) by a Gaussian whose standard deviation is up to `most` of the side."""
    side = image.shape[0]
    radius = math.ceil(3 * most * side)  # pixels, at three standard deviations
    distances = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * (distances / (most * side * draw)) ** 2)
    kernel = tf.tile((weights / tf.reduce_sum(weights))[:, None, None, None], [1, 1, 3, 1])
    margins = [[radius, radius], [radius, radius], [0, 0]]
    blurred = tf.pad(tf.cast(image, tf.float32), margins, "REFLECT")[None]
    for turned in (kernel, tf.transpose(kernel, [1, 0, 2, 3])):
        blurred = tf.nn.depthwise_conv2d(blurred, turned, [1, 1, 1, 1], "VALID")
    return _round(blurred[0])


def _compress(image: tf.Tensor, most: float, draw: tf.Tensor) -> tf.Tensor:
    """Encode (S, S, 3) as JPEG of quality 100 (1 - most) or more, and decode it."""
    quality = tf.cast(tf.round(100 * (1 - most * draw)), tf.int32)
    encoded = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
    return tf.ensure_shape(tf.io.decode_jpeg(encoded, channels=3), image.shape)


def _round(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def draw_changes(images: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw random numbers (images, D) in -1..1, one row per image of a batch.

    Args:
        seed: (2,) int64; the same seed gives the same draws.
    """
    more = tf.random.stateless_uniform([images, _MORE_DRAWS], tf.random.fold_in(seed, 1), -1.0, 1.0)
    return tf.concat([tf.random.stateless_uniform([images, _DRAWS], seed, -1.0, 1.0), more], axis=1)


def augment_batch(images: tf.Tensor, strength: Augmentation, changes: tf.Tensor) -> tf.Tensor:
    """Augment each image by its own draw.

    Args:
        images: (B, S, S, 3) uint8 or float, 0..255.
        changes: (B, D) of `draw_changes`.

    Returns:
        (B, S, S, 3) float32, 0..255.
    """
    draws = tf.unstack(changes, _DRAWS + _MORE_DRAWS, axis=1)
    more = draws[_DRAWS:]
    side = tf.cast(tf.shape(images)[1], tf.float32)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=_make_transforms([*draws[:7], more[0]], strength, side),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",  # black corners would show how far an image was rotated
    )
    varied = _vary_colour(moved, draws[7:10], strength)
    if strength.vignette:
        varied = _surround(varied, more[1:], strength.vignette)
    return _cut_out(varied, draws[10:_DRAWS], strength.cutout) if strength.cutout else varied


def draw_mixtures(images: int, strength: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Draw the share (images,) in 0.5..1 that each image keeps when it is mixed with another."""
    gammas = tf.random.stateless_gamma(
        [images, 2], tf.random.fold_in(seed, 3), alpha=strength.mixup
    )
    share = gammas[:, 0] / tf.maximum(tf.reduce_sum(gammas, axis=1), 1e-30)
    return tf.maximum(share, 1 - share)


def mix(values: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Mix each image, label or weight with that of its neighbour (mixup, Zhang et al. 2018).

    Args:
        values: (B, ...) float32; B is even. Rows 0 and 1 are neighbours, 2 and 3, and so on.
        shares: (B,) of `draw_mixtures`.
    """
    shape = tf.shape(values)
    pairs = tf.reshape(values, tf.concat([[-1, 2], shape[1:]], axis=0))
    others = tf.reshape(tf.reverse(pairs, [1]), shape)
    kept = tf.reshape(shares, tf.concat([[-1], tf.ones_like(shape[1:])], axis=0))
    return tf.ensure_shape(kept * values + (1 - kept) * others, values.shape)


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
    squeeze = (1 + strength.aspect) ** (draws[7] / 2)  # wider, and as much less high
    scale_x, scale_y = scale * squeeze, scale / squeeze
    a, b = cos * flip_x / scale_x, (cos * shear - sin) * flip_y / scale_x
    c, d = sin * flip_x / scale_y, (sin * shear + cos) * flip_y / scale_y
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


def _surround(images: tf.Tensor, draws: list[tf.Tensor], share: float) -> tf.Tensor:
    """Blacken some images outside a circle, as a dermatoscope's round field of view does."""
    side = tf.cast(tf.shape(images)[1], tf.float32)
    chosen, size, *offsets = draws
    low, high = _VIGNETTE_RADII
    radius = (low + (high - low) * (size + 1) / 2) * side / 2
    pixels = tf.range(side)[None]  # (1, S)
    y, x = (pixels - (side - 1) / 2 - 0.05 * side * each[:, None] for each in offsets)
    distance = tf.sqrt(y[:, :, None] ** 2 + x[:, None, :] ** 2)
    visible = tf.clip_by_value(radius[:, None, None] - distance, 0.0, 1.0)  # a smooth edge
    visible = tf.where((chosen < 2 * share - 1)[:, None, None], visible, 1.0)
    return images * visible[..., None]


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
