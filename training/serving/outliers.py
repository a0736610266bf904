"""Photos that are no lesions: those whose features lie far from all that training has seen.

Mahalanobis distance of pooled features from below the network's last ones (Lee et al. 2018, whose
best layers for the task's own classes are not these). `docs/experiments.md` compares the layers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

REFUSED = 0.02  # of held-out lesions
_IMAGES = 4000  # that the distance is fitted on, at most
_FEWEST = 1000  # that each collection may give, however small another one is


class Normal(NamedTuple):
    """Mean and whitening of the embeddings of training images."""

    mean: NDArray[np.float32]  # (D,)
    whitening: NDArray[np.float32]  # (D, K)


def choose_fitted(cases: pd.DataFrame) -> pd.DataFrame:
    """The first of `cases`, equally many of each collection, to fit the distance on.

    Were they as frequent as in the archive, its largest collection would decide how a lesion looks,
    and three times as many of a small one would be refused (`docs/experiments.md`).
    """
    # The names of ISIC's lesions begin with that of their collection: HAM_0000118, BCN_0000000.
    named = cases["lesion_id"].astype("string").str.extract(r"^([A-Z]+)\d*_", expand=False)
    collections = cases.groupby(cases["source"] + "/" + named.fillna(""), sort=False)
    most = min(max(collections.size().min(), _FEWEST), _IMAGES // collections.ngroups)
    return collections.head(most)


def fit_normal(embedding: NDArray[np.floating], kept: float = 0.5) -> Normal:
    """Fit to embeddings (N, D); the covariance is shrunk (Ledoit & Wolf 2004).

    Args:
        kept: of the D directions, those in which lesions vary least: what they have in common.
            These tell other pictures (Kamoi & Kobayashi 2020, arXiv:2003.00402), and half of them
            take half the size.
    """
    mean, scale = embedding.mean(axis=0), embedding.std(axis=0) + 1e-6
    precision = LedoitWolf(assume_centered=True).fit((embedding - mean) / scale).precision_
    precisions, directions = np.linalg.eigh(precision)  # ascending
    least = slice(round((1 - kept) * len(scale)), None)
    whitening = directions[:, least] * np.sqrt(precisions[least]) / scale[:, None]
    return Normal(mean.astype(np.float32), whitening.astype(np.float32))


def measure_distance(embedding: NDArray[np.floating], normal: Normal) -> NDArray[np.float64]:
    """Squared Mahalanobis distances (N,) of embeddings (N, D), per direction: lesions about 1."""
    whitened = (embedding - normal.mean) @ normal.whitening
    distance: NDArray[np.float64] = np.mean(np.square(whitened, dtype=np.float64), axis=1)
    return distance


def choose_threshold(distance: NDArray[np.floating]) -> float:
    """The distance that `REFUSED` of held-out lesions (N,) exceed."""
    return float(np.quantile(distance, 1 - REFUSED))
