"""The whole state of a fold's training, on disk: what `--resume` goes on from."""

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

_STEPS_BETWEEN_LOOKS = 16  # at the loss: each look waits for the device

Arrays = list[NDArray[Any]]


class State(NamedTuple):
    """Where training stands."""

    epoch: int  # whole epochs done
    step: int  # steps done in the next one
    frozen: bool  # the backbone's weights were held when the optimizer's state was taken
    seconds: float  # spent on the epoch so far
    history: list[dict[str, float]]  # a row for each whole epoch
    variables: Arrays  # weights, statistics and random states of the model
    optimizer: Arrays  # moments, averages, steps
    metrics: Arrays  # the sums behind the epoch's mean loss


_KINDS = ("variables", "optimizer", "metrics")
_ABOUT = State._fields[: -len(_KINDS)]


def write_checkpoint(path: Path, state: State) -> None:
    """Write to a temporary file and rename.

    Raises:
        TrainingError: the disk is full; what was there stays.
    """
    arrays = {
        f"{kind}{i}": array for kind in _KINDS for i, array in enumerate(getattr(state, kind))
    }
    about = {field: getattr(state, field) for field in _ABOUT}
    with replacing(path) as partial:
        np.savez(partial, about=np.array(json.dumps(about)), **arrays)


def read_checkpoint(path: Path) -> State:
    """Read what `write_checkpoint` wrote.

    Raises:
        TrainingError: it is damaged.
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
            f"{path} is damaged ({error}). Remove it, and the fold starts anew with --resume."
        ) from error


def _count(names: Sequence[str], kind: str) -> int:
    return sum(name.startswith(kind) for name in names)


def restore(model: keras.Model, state: State, frozen: bool) -> None:
    """Set a compiled model to a state; the optimizer only if it trains the same weights.

    Raises:
        TrainingError: the state is of another model.
    """
    _assign(model.variables, state.variables)
    if state.frozen == frozen:
        _assign(model.optimizer.variables, state.optimizer)


def _assign(variables: Sequence[keras.Variable], values: Arrays) -> None:
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise TrainingError("The checkpoint is of another model. Train again in another --run.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep the state after every epoch and every `minutes`, and stop where the loss is lost."""

    def __init__(
        self, folder: Path, minutes: float, frozen: bool, start: State | None, writes: bool
    ) -> None:
        """Args:
        folder: of the fold; gets checkpoint.npz and history.csv.
        start: the state that training goes on from.
        writes: this process writes files; of several, one does.
        """
        super().__init__()
        self.state = start
        self._folder, self._minutes, self._frozen, self._writes = folder, minutes, frozen, writes
        self._epoch = self._first_step = 0
        self._seconds = 0.0
        self._history = list(start.history) if start else []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Go on with the clock of an epoch that was cut off."""
        self._epoch, self._first_step, self._seconds = epoch, 0, 0.0
        if self.state and self.state.epoch == epoch and self.state.step:
            self._first_step, self._seconds = self.state.step, self.state.seconds
        self._began = self._kept = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the loss now and then, and keep the state every `minutes`."""
        step = self._first_step + batch + 1
        if self.state and self._first_step and batch == 0:
            self._add_sums(self.state.metrics)
        if step % _STEPS_BETWEEN_LOOKS == 0:
            self._require_finite(logs, step)
        # After the last step the epoch's end keeps the state itself.
        last = batch + 1 == self.params["steps"]
        if not last and time.monotonic() - self._kept > 60 * self._minutes:
            self._require_finite(logs, step)
            self._keep(self._epoch, step)
            self._kept = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state and write the history."""
        self._require_finite(logs, None)
        seconds = self._seconds + time.monotonic() - self._began
        self._history.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in logs.items()},
                "learning_rate": float(self.model.optimizer.learning_rate),  # of its end
                "seconds": round(seconds, 3),
            }
        )
        self._keep(epoch + 1, 0)
        if self._writes:
            write_history(self._folder, self._history)

    def _add_sums(self, sums: Arrays) -> None:
        """Go on with the epoch's sums; not sooner, as Keras makes theirs with the first batch."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        variables = self.model.metrics_variables
        _assign(variables, [a + b for a, b in zip(_read(variables), sums, strict=True)])

    def _require_finite(self, logs: dict[str, Any], step: int | None) -> None:
        if not math.isfinite(float(logs["loss"])):
            where = f"epoch {self._epoch + 1}" + (f", by step {step}" if step else "")
            raise TrainingError(
                f"{self._folder.name}: the loss is no longer finite ({where}). The last checkpoint "
                "stays as it is. Train in another --run with a lower --learning-rate."
            )

    def _keep(self, epoch: int, step: int) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        state = State(
            epoch,
            step,
            self._frozen,
            self._seconds + time.monotonic() - self._began,
            list(self._history),
            _read(self.model.variables),
            _read(self.model.optimizer.variables),
            _read(self.model.metrics_variables) if step else [],
        )
        # A loss that is finite can leave weights that are not.
        if not all(np.isfinite(array).all() for array in state.variables):
            self._require_finite({"loss": math.nan}, step)
        self.state = state
        if self._writes:
            write_checkpoint(checkpoint_path(self._folder), state)


def checkpoint_path(folder: Path) -> Path:
    """The checkpoint of a fold's folder."""
    return folder / "checkpoint.npz"


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: a row for each epoch, with its mean loss and what it took."""
    write_whole(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))


def _read(variables: Sequence[keras.Variable]) -> Arrays:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
