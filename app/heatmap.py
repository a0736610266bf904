"""The class activation map as an overlay on the square that the model saw."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# From transparent through violet and red to yellow, which stands out from skin. The lightness rises
# throughout, so it is readable with any colour vision. (level 0..255, R, G, B, alpha)
_STOPS = (
    (0, 60, 20, 140, 0),
    (90, 120, 30, 170, 80),
    (170, 225, 60, 110, 140),
    (255, 255, 225, 60, 180),
)
_levels, *_channels = np.transpose(_STOPS)
# Pixels; it is shown larger, which smooths it again. A map of 12 by 12 locations needs no more, and
# 224 would take three times as long and eight times the bytes.
SIDE = 64
_PALETTE = (
    np.stack([np.interp(np.arange(256), _levels, channel) for channel in _channels], axis=1)
    .astype(np.uint8)
    .tobytes()
)


def draw_heatmap(cam: NDArray[np.float32]) -> bytes:
    """Draw a transparent PNG of `SIDE` by `SIDE` pixels, stronger where the score was raised more.

    Levels run from the median location of the photo to its strongest, so that half of it stays
    clear. If all locations are equal, nothing is drawn.

    Args:
        cam: (h, w), what each location adds to the logit.
    """
    median = np.sort(cam, axis=None)[cam.size // 2]  # np.median takes a tenth of a millisecond
    above = np.maximum(cam - median, 0)
    levels = above / max(above.max(), np.finfo(np.float32).tiny)
    smooth = Image.fromarray(levels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    # A palette of 64 steps with transparency: half the bytes of RGBA, in a fifth of the time.
    indices = np.clip(np.asarray(smooth) * 255, 0, 255).astype(np.uint8) & 0b11111100
    picture = Image.fromarray(indices)
    picture.putpalette(_PALETTE, "RGBA")
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
