"""Learning rates as functions of the epoch, independent of batch size and number of devices."""

import math
from typing import Any

import keras
from keras import ops

from training.recipe import Schedule


def learning_rate_at(schedule: Schedule, epoch: Any, epochs: int) -> Any:
    """Compute the learning rate at `epoch`, a number or tensor in 0..epochs.

    - `decay`: exponential, from the highest rate at 0 to the lowest at the end.
    - `warmup_decay`: linear rise from 0 (Goyal et al. 2017), then constant, then a half cosine
      (Loshchilov & Hutter 2017) or an exponential down to the lowest rate at the end.
    - `cyclic`: triangular between the lowest rate and the highest (Smith 2017).
    """
    if schedule.name == "cyclic":
        phase = ops.mod(epoch / schedule.cycle_epochs, 1.0)
        share = 1.0 - ops.abs(2.0 * phase - 1.0)
        return schedule.learning_rate * (schedule.lowest + (1.0 - schedule.lowest) * share)
    if schedule.name == "decay":
        return schedule.learning_rate * _fall("exponential", epoch / epochs, schedule.lowest)
    start = schedule.warmup_epochs + schedule.hold_epochs
    falling = ops.clip((epoch - start) / max(epochs - start, 1e-6), 0.0, 1.0)
    warmup = schedule.warmup_epochs
    rising = ops.minimum(epoch / warmup, 1.0) if warmup else 1.0
    return schedule.learning_rate * rising * _fall(schedule.curve, falling, schedule.lowest)


def _fall(curve: str, share: Any, lowest: float) -> Any:
    """Fall from 1 at share 0 to `lowest` at share 1."""
    if curve == "cosine":
        return lowest + (1.0 - lowest) * 0.5 * (1.0 + ops.cos(math.pi * share))
    return ops.exp(math.log(max(lowest, 1e-6)) * share)  # an exponential never reaches 0


def thaw_factor(epoch: Any, first_epoch: int, warmup_epochs: float) -> Any:
    """Compute the factor on the learning rate: a rise from 0 to 1 that begins at `first_epoch`."""
    if not warmup_epochs:
        return 1.0
    return ops.clip((epoch - first_epoch) / warmup_epochs, 0.0, 1.0)


class PerStep(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A `Schedule` in the form that Keras's optimizers expect: a function of the step."""

    def __init__(
        self,
        schedule: Schedule,
        epochs: int,
        steps_per_epoch: int,
        first_epoch: int = 0,
        warmup_epochs: float = 0.0,
    ) -> None:
        """Args:
        epochs: over which the schedule runs.
        first_epoch: at which the optimizer begins to count its steps.
        warmup_epochs: over which the rate rises from 0 to the schedule's, from there on.
        """
        self._schedule, self._epochs = schedule, epochs
        self._steps_per_epoch, self._first_epoch = steps_per_epoch, first_epoch
        self._warmup_epochs = warmup_epochs

    def __call__(self, step: Any) -> Any:
        """Compute the learning rate of `step`, counted from the start of `first_epoch`."""
        epoch = self._first_epoch + ops.cast(step, "float32") / self._steps_per_epoch
        rate = learning_rate_at(self._schedule, epoch, self._epochs)
        return rate * thaw_factor(epoch, self._first_epoch, self._warmup_epochs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {
            "schedule": self._schedule,
            "epochs": self._epochs,
            "steps_per_epoch": self._steps_per_epoch,
            "first_epoch": self._first_epoch,
            "warmup_epochs": self._warmup_epochs,
        }
