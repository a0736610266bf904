"""Detection of photos that show no lesion: their features lie far from those of training images.

The measure is the Mahalanobis distance of pooled features from below the network's last layers (Lee
et al. 2018, who classified best with other layers). `docs/experiments.md` compares the layers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

# Share of held-out lesions that the threshold rejects at most, of each source and class. To take
# another photo costs less than to get a score for a photo of something else.
REFUSED = 0.03
_IMAGES = 4000  # at most, to fit the distance on
_LARGE = 100  # images of a source and class that the threshold is chosen for, too
_PER_COLLECTION = 1000  # that a collection may always give, however small another one is


class Normal(NamedTuple):
    """Means and whitening matrix of the embeddings of training images."""

    means: NDArray[np.float32]  # (M, D), one for each kind of photo
    whitening: NDArray[np.float32]  # (D, K)


def choose_fitted(cases: pd.DataFrame) -> pd.DataFrame:
    """Choose the images to fit the distance on: the first of `cases`, equally many per collection.

    With the frequencies of the archive, its largest collection would decide what a lesion looks
    like, and three times as many images of a small one would be rejected (`docs/experiments.md`).
    """
    # ISIC's lesion names begin with the name of their collection: HAM_0000118, BCN_0000000.
    named = cases["lesion_id"].astype("string").str.extract(r"^([A-Z]+)\d*_", expand=False)
    collections = cases.groupby(
        cases["source"] + "/" + named.fillna("") + "/" + cases["modality"], sort=False
    )
    most = min(max(collections.size().min(), _PER_COLLECTION), _IMAGES // collections.ngroups)
    return collections.head(most)


def fit_normal(
    embedding: NDArray[np.floating], kinds: NDArray[np.integer], kept: float = 0.5
) -> Normal:
    """Fit means and whitening to embeddings (N, D), with a shrunk covariance (Ledoit & Wolf 2004).

    The covariance is that within the kinds, so that the distance does not grow with the difference
    between kinds (Lee et al. 2018 share one among classes likewise).

    Args:
        kinds: (N,) 0 to M - 1, the kind of photo.
        kept: share of the D directions that is kept: those in which lesions vary least. What
            lesions have in common is what sets other pictures apart (Kamoi & Kobayashi 2020,
            arXiv:2003.00402), and half of the directions need half the space.
    """
    means = np.stack([embedding[kinds == kind].mean(axis=0) for kind in range(kinds.max() + 1)])
    centred = embedding - means[kinds]
    scale = centred.std(axis=0) + 1e-6
    precision = LedoitWolf(assume_centered=True).fit(centred / scale).precision_
    precisions, directions = np.linalg.eigh(precision)  # ascending
    least = slice(round((1 - kept) * len(scale)), None)
    whitening = directions[:, least] * np.sqrt(precisions[least]) / scale[:, None]
    return Normal(means.astype(np.float32), whitening.astype(np.float32))


def measure_distance(embedding: NDArray[np.floating], normal: Normal) -> NDArray[np.float64]:
    """Measure squared Mahalanobis distances (N,), per direction, from the nearest kind of photo.

    Args:
        embedding: (N, D).
    """
    distances: list[NDArray[np.float64]] = [
        np.mean(np.square((embedding - mean) @ normal.whitening, dtype=np.float64), axis=1)
        for mean in normal.means
    ]
    nearest: NDArray[np.float64] = np.min(distances, axis=0)
    return nearest


def choose_threshold(distance: pd.Series, source: pd.Series, target: pd.Series) -> float:
    """Choose the distance that at most a share `REFUSED` of held-out lesions (N,) exceeds.

    That holds for each source and class with enough images, so that neither the lesions of one
    camera nor melanomas are rejected more often than that.
    """
    groups = distance.groupby([source, target])
    large = [part for _, part in groups if len(part) >= _LARGE]
    return max(float(part.quantile(1 - REFUSED)) for part in large or [distance])
