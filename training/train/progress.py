"""Lines in the log that show how far a fold's training is, where no progress bar is drawn."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import keras

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Log step, loss, learning rate and the fold's remaining time every half minute.

    The remaining time assumes that all steps take as long as those of this session so far, so it is
    too short while the backbone is frozen.
    """

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        first_step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        epochs: number of epochs of the whole training.
        steps_per_epoch: batches in one epoch.
        first_step: steps of the first epoch that were trained before an interruption.
        clock: returns the time in seconds.
        """
        super().__init__()
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._first_step, self._clock = first_step, clock
        self._epoch = self._trained = 0
        self._began = self._shown = math.nan

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch, counted from 0."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Log a line if the last one is half a minute old."""
        now = self._clock()
        if math.isnan(self._began):  # the first step also waits for the compiler
            self._began = self._shown = now
            return
        self._trained += 1
        if now - self._shown < _SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        step = self._first_step + batch + 1
        total = self._epochs * self._steps_per_epoch
        left = total - self._epoch * self._steps_per_epoch - step
        if keras.backend.backend() == "jax":  # the optimizer's own step count is behind
            self.model.jax_state_sync()
        _log.info(
            "Epoch %d of %d, step %d of %d: loss %.4f, learning rate %.2e, %s left",
            self._epoch + 1,
            self._epochs,
            step,
            self._steps_per_epoch,
            float((logs or {})["loss"]),
            float(self.model.optimizer.learning_rate),
            render_duration(left * (now - self._began) / self._trained),
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count the steps of the next epoch from its start."""
        self._first_step = 0


def render_duration(seconds: float) -> str:
    """Render a duration as hours and minutes, or as seconds if it is below two minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
