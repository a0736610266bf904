"""Which kind of photo it is: dermoscopic, or a plain close-up."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_PENALTY = 0.01  # inverse strength; D directions and a few thousand images


class ModalityHead(NamedTuple):
    """P(dermoscopic) = sigmoid(embedding @ weights + bias)."""

    weights: NDArray[np.float32]  # (D,)
    bias: float


def fit_modality(embedding: NDArray[np.floating], dermoscopic: NDArray[np.bool_]) -> ModalityHead:
    """Fit the head to embeddings (N, D) of training images; both kinds weigh the same.

    A linear function of the features is enough (`docs/experiments.md`), and needs no training of
    the network for it.

    Args:
        dermoscopic: (N,), both values.
    """
    scaler, regression = StandardScaler(), LogisticRegression(C=_PENALTY, class_weight="balanced")
    make_pipeline(scaler, regression).fit(embedding, dermoscopic)
    weights = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - weights @ scaler.mean_
    return ModalityHead(weights.astype(np.float32), float(bias))
