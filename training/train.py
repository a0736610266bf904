"""Cross-validation, top to bottom: folds of shards -> models -> out-of-fold predictions."""

import logging
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from training.checkpoint import (
    Checkpoint,
    State,
    checkpoint_path,
    read_state,
    restore,
    write_history,
)
from training.data import Data
from training.dataset import Feeding, check_shards, count_examples, make_training_dataset
from training.errors import TrainingError
from training.files import is_full, replacing, write_whole
from training.folds import shards_of_fold
from training.hardware import Hardware, check_batch_size, find_hardware
from training.losses import make_loss, positive_weight_of
from training.model import build_model
from training.predict import predict
from training.run import (
    MODEL,
    OOF,
    RunMetrics,
    TrainSettings,
    check_run,
    fold_folder,
    note_environment,
    open_run,
    pool,
)
from training.run_report import write_run_report
from training.schedules import PerStep

_log = logging.getLogger(__name__)

CHECKPOINT_MINUTES = 10.0
_PREDICTED_AT_ONCE = 32  # images, at least


def cross_validate(
    settings: TrainSettings,
    data: Data,
    run: Path,
    *,
    only_folds: Sequence[int] = (),
    resume: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    precision: str = "auto",
) -> RunMetrics | None:
    """Train the folds of `only_folds` (none given: all) and pool and show every fold that is done.

    Returns:
        What metrics.json holds; None in other processes than the first.

    Raises:
        TrainingError: the data, the run folder or an option is not usable.
    """
    splits = split_folds(settings, data)
    unknown = [fold for fold in only_folds if fold not in splits]
    if unknown:
        raise TrainingError(f"--only-fold {unknown[0]}: folds are 0 to {settings.folds - 1}.")
    check_shards(data.shards(), data.build.settings.size)
    hardware = find_hardware(precision)
    check_batch_size(settings.batch_size, hardware)
    if hardware.process == 0:
        check_run(run, settings, resume)
    # Before the run folder is made: weights that cannot be had should leave nothing behind.
    if settings.weights_run:
        _check_start(settings, settings.weights_run, only_folds or splits)
    else:
        build_model(settings.backbone, settings.size, settings.weights)
    if hardware.process == 0:
        open_run(run, settings)
        note_environment(run, hardware.description, hardware.precision)
    for fold in only_folds or splits:
        folder = fold_folder(run, fold)
        if (folder / OOF).exists():
            _log.info("Fold %d is done already", fold)
            continue
        _log.info("Fold %d of %d", fold, settings.folds)
        job = Job(settings, data, splits[fold], folder, hardware, checkpoint_minutes)
        try:
            train_fold(job)
        except Exception as error:
            if is_full(error):  # not all files are ours to write: TensorBoard's, for one
                raise TrainingError(
                    f"{folder}: the disk is full. The last checkpoint stays: free some space and "
                    "go on with --resume."
                ) from error
            raise
    if hardware.process:  # another process writes
        return None
    metrics = pool(run, settings.folds)
    write_run_report(run, settings, metrics)
    return metrics


class Split(NamedTuple):
    """The rows of the table of cases that a fold trains on, and those that it is scored on."""

    fold: int
    training: pd.DataFrame
    scored: pd.DataFrame


def split_folds(settings: TrainSettings, data: Data) -> dict[int, Split]:
    """The split of each fold.

    Raises:
        TrainingError: the folds do not divide the shards, a source is not there, a fold has no
            positives or fewer images than a batch, or the data are too small.
    """
    size = data.build.settings.size
    if settings.size > size:
        raise TrainingError(
            f"--size {settings.size} is more than the {size} px of {data.folder}. Build the data "
            f"with --size {settings.size}, or train at {size} px or less."
        )
    cases = data.cases
    named = {"--extra": settings.extra_sources, "--omit": settings.omitted_sources}
    for option, names in named.items():
        if absent := sorted(set(names) - set(cases["source"])):
            raise TrainingError(
                f"{option} {absent[0]}: {data.folder} has the sources "
                f"{', '.join(sorted(set(cases['source'])))}."
            )
    cases = cases[~cases["source"].isin(settings.omitted_sources)]
    shards = len(data.shards())
    splits = {}
    for fold in range(settings.folds):
        held_out = cases["shard"].isin(shards_of_fold(fold, settings.folds, shards))
        split = Split(
            fold,
            cases[~held_out],
            cases[held_out & ~cases["source"].isin(settings.extra_sources)],
        )
        _require_both_classes(split)
        splits[fold] = split
    return splits


def _require_both_classes(split: Split) -> None:
    for what, cases in (("training", split.training), ("scored", split.scored)):
        for target, name in ((1, "positive"), (0, "negative")):
            if not (cases["target"] == target).any():
                raise TrainingError(
                    f"Fold {split.fold} has no {name} image among those {what}. Give fewer "
                    "--folds, or other --extra or --omit."
                )


def _check_start(settings: TrainSettings, earlier: TrainSettings, folds: Iterable[int]) -> None:
    """Check that each fold can start from its own of an earlier run, which saw no held-out image.

    Raises:
        TrainingError: the run has other data, folds or backbone, or has not finished a fold.
    """
    for name in ("backbone", "data_sha256", "folds"):
        there, now = getattr(earlier, name), getattr(settings, name)
        if there != now:
            raise TrainingError(
                f"--weights {settings.weights}: {name} {there} there, {now} now. Start from a run "
                "of the same backbone, data and number of folds: another split would show a fold "
                "the images that it is scored on."
            )
    for fold in folds:
        if not (fold_folder(Path(settings.weights), fold) / OOF).exists():
            raise TrainingError(
                f"--weights {settings.weights} has not finished fold {fold}. Go on with "
                f"python -m training train --run {settings.weights} --resume."
            )


class Job(NamedTuple):
    """One fold to train."""

    settings: TrainSettings
    data: Data
    split: Split
    folder: Path
    hardware: Hardware
    checkpoint_minutes: float

    @property
    def seed(self) -> int:
        """Of this fold alone."""
        return self.settings.seed + self.split.fold


def train_fold(job: Job) -> None:
    """Train on one part of the cases; save the model and its predictions for the other."""
    settings, hardware = job.settings, job.hardware
    keras.utils.set_random_seed(job.seed)
    feeding = _plan_feeding(job)
    model = _build(job)
    state = None
    if checkpoint_path(job.folder).exists():
        state = read_state(checkpoint_path(job.folder))
        _log.info("Going on in epoch %d, after step %d", state.epoch + 1, state.step)
    job.folder.mkdir(parents=True, exist_ok=True)
    for phase in _list_phases(settings):
        if state and state.epoch >= phase.end < settings.epochs:
            continue
        _compile(job, feeding, model, phase)
        while state is None or state.epoch < phase.end:
            state = _fit(job, feeding, model, state, phase)
    assert state is not None
    restore(model, state, state.frozen)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # the averaged ones
    with hardware.alone(), hardware.scope():
        trained = _copy_for_inference(settings, model)
        split = job.split
        _log.info("Predicting the %d held-out images of fold %d", len(split.scored), split.fold)
        at_once = hardware.devices * math.ceil(_PREDICTED_AT_ONCE / hardware.devices)
        predictions = predict(trained, job.data, job.split.scored, at_once, settings.tta)
    if not np.isfinite(predictions["logit"]).all():
        raise TrainingError(
            f"{job.folder.name}: the model's predictions are no numbers, though its loss was one. "
            "Train in another --run with a lower --learning-rate."
        )
    if hardware.process == 0:
        with replacing(job.folder / MODEL) as partial:
            trained.save(partial)
        write_history(job.folder, state.history)
        # Last: a fold counts as done once these are there.
        write_whole(job.folder / OOF, predictions.assign(fold=job.split.fold).to_csv(index=False))
        checkpoint_path(job.folder).unlink(missing_ok=True)  # four times the model's size


def _plan_feeding(job: Job) -> Feeding:
    settings, cases = job.settings, job.split.training
    positives, negatives = count_examples(cases, settings.positives_repeated)
    steps = (positives + negatives) // settings.batch_size
    if steps == 0:
        raise TrainingError(
            f"--batch-size {settings.batch_size} is more than the {positives + negatives} training "
            f"images of fold {job.split.fold}."
        )
    return Feeding(
        size=settings.size,
        batch_size=settings.batch_size,
        steps_per_epoch=min(steps, settings.steps_per_epoch or steps),
        epochs=settings.epochs,
        augmentation=settings.augmentation,
        positive_weight=positive_weight_of(settings.loss, positives, negatives),
        positives_repeated=settings.positives_repeated,
        diagnosis=settings.diagnosis_weight > 0,
        seed=job.seed,
    )


def _build(job: Job) -> keras.Model:
    settings = job.settings
    with job.hardware.scope():
        model = build_model(
            settings.backbone,
            settings.size,
            "none" if settings.weights_run else settings.weights,
            settings.dropout,
            settings.drop_connect,
            settings.diagnosis_weight > 0,
        )
        if settings.weights_run:
            start = fold_folder(Path(settings.weights), job.split.fold) / MODEL
            _copy_weights(keras.models.load_model(start), model)
    if job.hardware.strategy:
        # As JAX does by itself: statistics of the whole batch, not of each device's part of it.
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    return model


class Phase(NamedTuple):
    """Epochs that train the same weights."""

    frozen: bool  # the backbone keeps its weights and statistics
    first: int
    end: int


def _list_phases(settings: TrainSettings) -> list[Phase]:
    turn = min(settings.freeze_epochs, settings.epochs)
    phases = [Phase(True, 0, turn), Phase(False, turn, settings.epochs)]
    return [phase for phase in phases if phase.first < phase.end]


def _compile(job: Job, feeding: Feeding, model: keras.Model, phase: Phase) -> None:
    settings = job.settings
    for layer in model.layers:
        layer.trainable = not phase.frozen or layer.name in ("logit", "diagnosis")
    losses = [make_loss(settings.loss)]
    if feeding.diagnosis:
        losses.append(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with job.hardware.scope():
        model.compile(
            _make_optimizer(settings, feeding.steps_per_epoch, phase),
            loss=losses,
            loss_weights=[1.0, settings.diagnosis_weight][: len(losses)],
        )
        model.optimizer.build(model.trainable_variables)


def _make_optimizer(
    settings: TrainSettings, steps_per_epoch: int, phase: Phase
) -> keras.optimizers.Optimizer:
    steps = (phase.end - phase.first) * steps_per_epoch
    optimizer = keras.optimizers.AdamW(
        PerStep(settings.schedule, settings.epochs, steps_per_epoch, phase.first),
        weight_decay=settings.weight_decay,
        use_ema=settings.averaged_share > 0,
        ema_momentum=max(0.0, 1 - 1 / max(1.0, settings.averaged_share * steps)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _fit(
    job: Job, feeding: Feeding, model: keras.Model, state: State | None, phase: Phase
) -> State:
    """Train to the end of the epoch that was cut off, else to the end of the phase."""
    epoch, step = (state.epoch, state.step) if state else (0, 0)
    if state:
        restore(model, state, phase.frozen)
    writes = job.hardware.process == 0
    checkpoint = Checkpoint(job.folder, job.checkpoint_minutes, phase.frozen, state, writes)
    callbacks = [checkpoint]
    if writes:
        board = job.folder / "tensorboard"
        callbacks.append(keras.callbacks.TensorBoard(board, write_graph=False))
    batches = make_training_dataset(
        job.data,
        job.split.training,
        feeding,
        start=(epoch, step),
        rows=job.hardware.rows(feeding.batch_size),
    )
    model.fit(
        batches,
        steps_per_epoch=feeding.steps_per_epoch - step,
        initial_epoch=epoch,
        epochs=epoch + 1 if step else phase.end,
        callbacks=callbacks,
        shuffle=False,  # the data set shuffles its records itself
        verbose=1 if sys.stdout.isatty() else 2,
    )
    # Not the model's own weights: Keras put the averaged ones there, and training goes on from the
    # others.
    assert checkpoint.state is not None
    return checkpoint.state


def _copy_for_inference(settings: TrainSettings, model: keras.Model) -> keras.Model:
    """The same network in float32, without the second head."""
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("float32")
    copy = build_model(settings.backbone, settings.size, "none")
    keras.mixed_precision.set_global_policy(policy)
    _copy_weights(model, copy)
    return copy


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Between networks that differ, if at all, in the second head, which comes last."""
    layers = [[layer for layer in model.layers if layer.weights] for model in (source, target)]
    for theirs, ours in zip(*layers, strict=False):
        ours.set_weights(theirs.get_weights())
        if isinstance(ours, keras.layers.Normalization):
            ours.finalize_state()
