"""Detection of photos that show no lesion: their features lie far from those of training images.

The measure is the Mahalanobis distance of pooled features from below the network's last layers (Lee
et al. 2018, who classified best with other layers). `docs/experiments.md` compares the layers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

REFUSED = 0.02  # share of held-out lesions that the threshold rejects
_IMAGES = 4000  # at most, to fit the distance on
_PER_COLLECTION = 1000  # that a collection may always give, however small another one is


class Normal(NamedTuple):
    """Mean and whitening matrix of the embeddings of training images."""

    mean: NDArray[np.float32]  # (D,)
    whitening: NDArray[np.float32]  # (D, K)


def choose_fitted(cases: pd.DataFrame) -> pd.DataFrame:
    """Choose the images to fit the distance on: the first of `cases`, equally many per collection.

    With the frequencies of the archive, its largest collection would decide what a lesion looks
    like, and three times as many images of a small one would be rejected (`docs/experiments.md`).
    """
    # ISIC's lesion names begin with the name of their collection: HAM_0000118, BCN_0000000.
    named = cases["lesion_id"].astype("string").str.extract(r"^([A-Z]+)\d*_", expand=False)
    collections = cases.groupby(cases["source"] + "/" + named.fillna(""), sort=False)
    most = min(max(collections.size().min(), _PER_COLLECTION), _IMAGES // collections.ngroups)
    return collections.head(most)


def fit_normal(embedding: NDArray[np.floating], kept: float = 0.5) -> Normal:
    """Fit mean and whitening to embeddings (N, D), with a shrunk covariance (Ledoit & Wolf 2004).

    Args:
        kept: share of the D directions that is kept: those in which lesions vary least. What
            lesions have in common is what sets other pictures apart (Kamoi & Kobayashi 2020,
            arXiv:2003.00402), and half of the directions need half the space.
    """
    mean, scale = embedding.mean(axis=0), embedding.std(axis=0) + 1e-6
    precision = LedoitWolf(assume_centered=True).fit((embedding - mean) / scale).precision_
    precisions, directions = np.linalg.eigh(precision)  # ascending
    least = slice(round((1 - kept) * len(scale)), None)
    whitening = directions[:, least] * np.sqrt(precisions[least]) / scale[:, None]
    return Normal(mean.astype(np.float32), whitening.astype(np.float32))


def measure_distance(embedding: NDArray[np.floating], normal: Normal) -> NDArray[np.float64]:
    """Measure squared Mahalanobis distances (N,), per direction, of embeddings (N, D)."""
    whitened = (embedding - normal.mean) @ normal.whitening
    distance: NDArray[np.float64] = np.mean(np.square(whitened, dtype=np.float64), axis=1)
    return distance


def choose_threshold(distance: NDArray[np.floating]) -> float:
    """Choose the distance that a share `REFUSED` of held-out lesions (N,) exceeds."""
    return float(np.quantile(distance, 1 - REFUSED))
