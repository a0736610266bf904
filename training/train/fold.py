"""One fold, from its cases to its saved model and predictions."""

import logging
import math
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from training.data.batches import Feeding, count_examples, make_training_dataset
from training.data.folder import Data
from training.errors import TrainingError
from training.files import replacing, write_whole
from training.model.network import build_model
from training.recipe import TrainSettings
from training.train.checkpoint import (
    Checkpoint,
    State,
    checkpoint_path,
    read_checkpoint,
    restore,
    write_history,
)
from training.train.hardware import Hardware
from training.train.losses import make_loss, positive_weight_of
from training.train.predict import predict
from training.train.run import KERAS_MODEL, OOF, fold_folder
from training.train.schedules import PerStep
from training.train.splits import Split

_log = logging.getLogger(__name__)

_PREDICTED_AT_ONCE = 32  # images, at least


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
    feeding = plan_feeding(job)
    model = build_fold_model(job)
    state = None
    if checkpoint_path(job.folder).exists():
        state = read_checkpoint(checkpoint_path(job.folder))
        _log.info("Going on in epoch %d, after step %d", state.epoch + 1, state.step)
    job.folder.mkdir(parents=True, exist_ok=True)
    for phase in _list_phases(settings):
        if state and state.epoch >= phase.end < settings.epochs:
            continue
        compile_phase(job, feeding, model, phase)
        while state is None or state.epoch < phase.end:
            state = fit_phase(job, feeding, model, state, phase)
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
        with replacing(job.folder / KERAS_MODEL) as partial:
            trained.save(partial)
        write_history(job.folder, state.history)
        # Last: a fold counts as done once these are there.
        write_whole(job.folder / OOF, predictions.assign(fold=job.split.fold).to_csv(index=False))
        checkpoint_path(job.folder).unlink(missing_ok=True)  # four times the model's size


def plan_feeding(job: Job) -> Feeding:
    """How the training images of a fold become batches.

    Raises:
        TrainingError: a batch holds more images than the fold has.
    """
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


def build_fold_model(job: Job) -> keras.Model:
    """Build the network, with the weights that the fold starts from."""
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
            start = fold_folder(Path(settings.weights), job.split.fold) / KERAS_MODEL
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


def compile_phase(job: Job, feeding: Feeding, model: keras.Model, phase: Phase) -> None:
    """Compile the model for the epochs of one phase, with an optimizer of its own."""
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


def fit_phase(
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
