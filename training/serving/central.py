"""Where the model looks: how much of the activation map lies in the centre, where the lesion is."""

import numpy as np
from numpy.typing import NDArray

SIDE = 0.7  # of the central square, as a fraction of the photo's


def measure_central(cam: NDArray[np.floating]) -> NDArray[np.float64]:
    """Measure the share of each map's mass in the central square, 0..1; an even map has SIDE ** 2.

    Mass is what the heat map shows: by how much a location exceeds the map's median. A map without
    any counts as even.

    Args:
        cam: (N, h, w), what each location adds to the logit.
    """
    above = np.maximum(cam - np.median(cam, axis=(1, 2), keepdims=True), 0).astype(np.float64)
    inside = np.einsum("nhw,h,w->n", above, *(_cover(side) for side in cam.shape[1:]))
    whole = above.sum(axis=(1, 2))
    share: NDArray[np.float64] = np.divide(
        inside, whole, out=np.full(len(cam), SIDE**2), where=whole > 0
    )
    return share


def _cover(cells: int) -> NDArray[np.float64]:
    """Return how much of each of the cells along a side lies in the centre, 0..1."""
    edges = np.linspace(-0.5, 0.5, cells + 1).clip(-SIDE / 2, SIDE / 2)
    return np.diff(edges) * cells
