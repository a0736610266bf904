"""The class activation map as a picture to lay over the square that the model saw."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# From nothing through violet and red to yellow: stands out from skin, lightness rises throughout,
# and so it reads with any colour vision. (level 0..255, R, G, B, alpha)
_STOPS = (
    (0, 60, 20, 140, 0),
    (90, 120, 30, 170, 80),
    (170, 225, 60, 110, 140),
    (255, 255, 225, 60, 180),
)
_levels, *_channels = np.transpose(_STOPS)
_PALETTE = (
    np.stack([np.interp(np.arange(256), _levels, channel) for channel in _channels], axis=1)
    .astype(np.uint8)
    .tobytes()
)


def draw_heatmap(cam: NDArray[np.float32], size: int) -> bytes:
    """A transparent PNG of size by size pixels, stronger where the photo raised the score more.

    cam: (h, w), what each location adds to the logit. Levels run from the median location of this
    photo to the strongest, so that half of it stays clear; where all are equal nothing is drawn.
    """
    above = np.maximum(cam - np.median(cam), 0)
    levels = above / max(above.max(), np.finfo(np.float32).tiny)
    smooth = Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC)
    # 64 steps on a palette with transparency: half of the bytes of RGBA, in a fifth of the time.
    indices = np.clip(np.asarray(smooth) * 255, 0, 255).astype(np.uint8) & 0b11111100
    picture = Image.fromarray(indices)
    picture.putpalette(_PALETTE, "RGBA")
    file = io.BytesIO()
    # By itself it packs in 0.9 ms to 10 kB instead of in 0.2 ms to 13.
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()
