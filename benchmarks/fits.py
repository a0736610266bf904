"""Timed training of one network: as `training train` does it, and with plain Keras."""

import contextlib
import inspect
import io
import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from training.data.folder import Data

# TensorFlow is imported where it is used, because worker processes import this module without it.
if TYPE_CHECKING:
    from training.train.fold import Job

EPOCHS = 2  # measured epochs of a fit, after a warm-up epoch


class Preset(NamedTuple):
    """A network to train, and the lesions to draw for it."""

    backbone: str
    size: int  # pixels; data of a smaller size are used at their own size
    batch_size: int
    steps: int  # per epoch
    rounds: int
    drawn: int  # number of lesions
    side: int  # of the drawn photos, pixels
    crop: float


class Training(NamedTuple):
    """A fold that is ready to train."""

    job: "Job"
    model: Any  # compiled


def size_of(preset: Preset, data: Data) -> int:
    """Return the side of the training images in pixels."""
    return min(preset.size, data.build.settings.size)


def prepare(data: Data, preset: Preset) -> Training:
    """Build and compile a network as `training train` does, to train on the images of one epoch."""
    from training.recipe import CHECKPOINT_MINUTES, TrainSettings
    from training.train.fold import Job, Phase, build_fold_model, compile_phase, plan_feeding
    from training.train.hardware import find_hardware
    from training.train.splits import Split

    settings = TrainSettings(
        data=str(data.folder),
        data_sha256=data.build.cases_sha256,
        size=size_of(preset, data),
        backbone=preset.backbone,
        weights="none",
        folds=2,
        # One more than `fit` uses, because in a long run, too, the pipeline works ahead.
        epochs=1 + EPOCHS + 1,
        batch_size=preset.batch_size,
        steps_per_epoch=preset.steps,
        seed=0,
    )
    # Whole shards, but no more than needed, because the pipeline reads all of them for each epoch.
    images = data.cases["shard"].value_counts().sort_index().cumsum()
    fewer = images.index[images < preset.steps * preset.batch_size]
    cases = data.cases[data.cases["shard"].isin(images.index[: len(fewer) + 1])]
    split = Split(0, cases, cases)
    job = Job(
        settings=settings,
        data=data,
        split=split,
        feeding=plan_feeding(settings, split),
        folder=Path(),
        hardware=find_hardware("auto"),
        checkpoint_minutes=CHECKPOINT_MINUTES,
    )
    model = build_fold_model(job)
    compile_phase(job, model, Phase(False, 0, settings.epochs))
    return Training(job, model)


def fit_ours(training: Training) -> tuple[float, float]:
    """Train as `training train` does, and read the duration of epochs from the files it writes.

    Returns:
        Median seconds of all epochs but the first: from the end of one to the end of the next, and
        of the steps alone.
    """
    import tensorflow as tf

    from training.train.fold import Phase, fit_phase

    job, model = training
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        phase = Phase(False, 0, 1 + EPOCHS)
        state = fit_phase(job._replace(folder=Path(folder)), model, None, phase)
        files = Path(folder).glob("tensorboard/train/events*")
        records = tf.data.TFRecordDataset([str(file) for file in files])
        events = [tf.compat.v1.Event.FromString(record.numpy()) for record in records]
    # TensorBoard's callback runs last at the end of an epoch, after the checkpoint is written.
    ends = [
        event.wall_time
        for event in events
        if any(value.tag == "epoch_loss" for value in event.summary.value)
    ]
    return _median_between(ends), statistics.median(row["seconds"] for row in state.history[1:])


def fit_bare(training: Training, batches: Any) -> float:
    """Train with plain Keras, and return the median seconds of all epochs but the first."""
    import keras

    ends: list[float] = []
    training.model.fit(
        batches,
        steps_per_epoch=training.job.feeding.steps_per_epoch,
        epochs=1 + EPOCHS,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.time()))
        ],
        shuffle=False,
        verbose=0,
    )
    return _median_between(ends)


def _median_between(moments: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in pairwise(moments))


def count_traces(model: Any) -> int:
    """Count how often Keras traced (with JAX: compiled) the train function of a fitted model."""
    import keras

    parts = inspect.getclosurevars(model.train_function).nonlocals
    if keras.backend.backend() == "jax":
        return int(parts["step_function"]._cache_size())
    return int(parts["multi_step_on_iterator"].experimental_get_tracing_count())
