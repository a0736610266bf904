"""The complete state of a fold's training on disk, from which `--resume` continues."""

import json
import logging
import math
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import TrainingError
from training.files import replacing, write_whole

_log = logging.getLogger(__name__)

_STEPS_BETWEEN_LOSS_CHECKS = 16  # each check waits for the device

Arrays = list[NDArray[Any]]


class State(NamedTuple):
    """How far training has come, and all values that it continues from."""

    epoch: int  # number of finished epochs
    step: int  # finished steps of the current epoch
    frozen: bool  # the backbone was frozen when the optimizer's state was saved
    seconds: float  # spent on the current epoch
    history: list[dict[str, float]]  # a row for each finished epoch
    variables: Arrays  # weights, statistics and random states of the model
    optimizer: Arrays  # moments, averaged weights, step count
    metrics: Arrays  # the sums from which the epoch's mean loss is computed


_KINDS = ("variables", "optimizer", "metrics")
_ABOUT = State._fields[: -len(_KINDS)]


def write_checkpoint(path: Path, state: State) -> None:
    """Write a checkpoint to a temporary file and rename it.

    Raises:
        TrainingError: the disk is full; the previous checkpoint is kept.
    """
    arrays = {
        f"{kind}{i}": array for kind in _KINDS for i, array in enumerate(getattr(state, kind))
    }
    about = {field: getattr(state, field) for field in _ABOUT}
    with replacing(path) as partial:
        np.savez(partial, about=np.array(json.dumps(about)), **arrays)


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            about = json.loads(str(file["about"]))
            kinds = [
                [file[f"{kind}{i}"] for i in range(_count(file.files, kind))] for kind in _KINDS
            ]
            return State(*(about[field] for field in _ABOUT), *kinds)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path} is damaged ({error}). Remove it, and --resume trains the fold from its start."
        ) from error


def _count(names: Sequence[str], kind: str) -> int:
    return sum(name.startswith(kind) for name in names)


def restore(model: keras.Model, state: State, frozen: bool) -> None:
    """Load a state into a compiled model; into its optimizer only if it trains the same layers.

    Raises:
        TrainingError: the state belongs to another model.
    """
    _assign(model.variables, state.variables)
    if state.frozen == frozen:
        _assign(model.optimizer.variables, state.optimizer)


def _assign(variables: Sequence[keras.Variable], values: Arrays) -> None:
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise TrainingError(
            "The checkpoint belongs to another model. Train again in another --run."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Save the state after every epoch and every `minutes`, and stop if the loss is not finite."""

    def __init__(
        self, folder: Path, minutes: float, frozen: bool, start: State | None, writes: bool
    ) -> None:
        """Args:
        folder: the fold's folder, for checkpoint.npz and history.csv.
        minutes: time between checkpoints within an epoch.
        frozen: the backbone is frozen.
        start: the state from which training continues; None: it begins.
        writes: whether this process writes files; one of several does.
        """
        super().__init__()
        self.state = start
        self._folder, self._minutes, self._frozen, self._writes = folder, minutes, frozen, writes
        self._epoch = self._first_step = 0
        self._seconds = 0.0
        self._history = list(start.history) if start else []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock of the epoch, or continue that of an interrupted one."""
        self._epoch, self._first_step, self._seconds = epoch, 0, 0.0
        if self.state and self.state.epoch == epoch and self.state.step:
            self._first_step, self._seconds = self.state.step, self.state.seconds
        self._began = self._saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the loss now and then, and save the state every `minutes`."""
        step = self._first_step + batch + 1
        if self.state and self._first_step and batch == 0:
            self._add_sums(self.state.metrics)
        if step % _STEPS_BETWEEN_LOSS_CHECKS == 0:
            self._require_finite(logs, step)
        # After the last step, `on_epoch_end` saves the state.
        last = batch + 1 == self.params["steps"]
        if not last and time.monotonic() - self._saved > 60 * self._minutes:
            self._require_finite(logs, step)
            self._save(self._epoch, step)
            self._saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save the state and write the history."""
        self._require_finite(logs, None)
        seconds = self._seconds + time.monotonic() - self._began
        self._history.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in logs.items()},
                "learning_rate": float(self.model.optimizer.learning_rate),  # at the epoch's end
                "seconds": round(seconds, 3),
            }
        )
        self._save(epoch + 1, 0)
        if self._writes:
            write_history(self._folder, self._history)

    def _add_sums(self, sums: Arrays) -> None:
        """Add the sums of the interrupted epoch; Keras creates its own with the first batch."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        variables = self.model.metrics_variables
        _assign(variables, [a + b for a, b in zip(_read(variables), sums, strict=True)])

    def _require_finite(self, logs: dict[str, Any], step: int | None) -> None:
        if not math.isfinite(float(logs["loss"])):
            where = f"epoch {self._epoch + 1}" + (f", by step {step}" if step else "")
            raise TrainingError(
                f"{self._folder.name}: the loss is no longer finite ({where}). The last checkpoint "
                "is kept. Train in another --run with a lower --learning-rate."
            )

    def _save(self, epoch: int, step: int) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        state = State(
            epoch=epoch,
            step=step,
            frozen=self._frozen,
            seconds=self._seconds + time.monotonic() - self._began,
            history=list(self._history),
            variables=_read(self.model.variables),
            optimizer=_read(self.model.optimizer.variables),
            metrics=_read(self.model.metrics_variables) if step else [],
        )
        # The loss can be finite although the weights are not.
        if not all(np.isfinite(array).all() for array in state.variables):
            self._require_finite({"loss": math.nan}, step)
        self.state = state
        if self._writes:
            write_checkpoint(checkpoint_path(self._folder), state)


def checkpoint_path(folder: Path) -> Path:
    """Return the path of the checkpoint in a fold's folder."""
    return folder / "checkpoint.npz"


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: mean loss, learning rate and seconds of each epoch."""
    write_whole(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))


def _read(variables: Sequence[keras.Variable]) -> Arrays:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
