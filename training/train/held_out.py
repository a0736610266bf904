"""The AUC of held-out images after each epoch: displayed, never used."""

from typing import Any

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from training.data.folder import Data
from training.train.hardware import Hardware
from training.train.predict import predict
from training.train.splits import Split

NAME = "held_out_auc"
_OF_EACH_CLASS = 512  # at most: a few percent of an epoch's time
_SEED = 0


class HeldOutAuc(keras.callbacks.Callback):  # type: ignore[misc]
    """Add the AUC of a sample of the held-out images to the logs of each epoch.

    It is that of the weights as they are then, before any averaging, from one view of each image.
    """

    def __init__(self, data: Data, split: Split, hardware: Hardware, batch_size: int) -> None:
        super().__init__()
        self._data, self._hardware, self._batch_size = data, hardware, batch_size
        shuffled = split.scored.sample(frac=1, random_state=_SEED)
        self._cases = shuffled.groupby("target").head(_OF_EACH_CLASS)

    def on_train_begin(self, logs: Any = None) -> None:
        """Make the model of the first head alone."""
        with self._hardware.scope():
            self._model = keras.Model(self.model.inputs, self.model.outputs[0])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure the AUC; the callbacks that come later record and show it."""
        predicted = predict(self._model, self._data, self._cases, self._batch_size, tta=False)
        if np.isfinite(predicted["logit"]).all():
            logs[NAME] = float(roc_auc_score(predicted["target"], predicted["logit"]))
