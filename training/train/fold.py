"""Training of one fold: from its cases to a saved model and its predictions."""

import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.batches import Feeding, make_training_dataset
from training.data.folder import Data
from training.data.strata import describe_draw, draw_all, draw_balanced
from training.errors import TrainingError
from training.files import replacing, write_table
from training.model.network import build_model
from training.recipe import NO_AUGMENTATION, TrainSettings
from training.train.batchnorm import estimate_statistics
from training.train.checkpoint import (
    Checkpoint,
    State,
    checkpoint_path,
    read_checkpoint,
    restore,
    write_history,
)
from training.train.hardware import Hardware
from training.train.held_out import HeldOutAuc
from training.train.losses import choose_positive_weight, make_loss
from training.train.predict import predict
from training.train.progress import Progress
from training.train.run import DRAWN, KERAS_MODEL, OOF, fold_folder
from training.train.schedules import PerStep
from training.train.splits import Split

_log = logging.getLogger(__name__)

_PREDICTED_AT_ONCE = 32  # images; more where the devices do not divide it


class Job(NamedTuple):
    """One fold to train, with everything that its training needs."""

    settings: TrainSettings
    data: Data
    split: Split
    feeding: Feeding
    folder: Path  # the fold's own
    hardware: Hardware
    checkpoint_minutes: float


def train_fold(job: Job) -> None:
    """Train a fold, or resume it, and save its model and its predictions of the held-out images.

    Raises:
        TrainingError: the loss or a prediction is not finite, or a checkpoint is damaged.
    """
    settings, hardware, split = job.settings, job.hardware, job.split
    keras.utils.set_random_seed(job.feeding.seed)
    model = build_fold_model(job)
    state = None
    if checkpoint_path(job.folder).exists():
        state = read_checkpoint(checkpoint_path(job.folder))
        _log.info("Continuing in epoch %d, after step %d", state.epoch + 1, state.step)
    job.folder.mkdir(parents=True, exist_ok=True)
    if hardware.process == 0:
        drawn = describe_draw(job.feeding.draw, split.training["target"].to_numpy())
        write_table(job.folder / DRAWN, drawn)
    for phase in _list_phases(settings):
        if state and state.epoch >= phase.end < settings.epochs:
            continue
        compile_phase(job, model, phase)
        while state is None or state.epoch < phase.end:
            state = fit_phase(job, model, state, phase)
    assert state is not None
    restore(model, state, state.frozen)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # the averaged weights
    with hardware.alone(), hardware.scope():
        trained = _copy_for_inference(settings, model)
        if settings.batchnorm_images:
            _log.info("Estimating batch normalization from %d images", settings.batchnorm_images)
            estimate_statistics(trained, _feed_clean_images(job))
        _log.info("Predicting the %d held-out images of fold %d", len(split.scored), split.fold)
        predictions = predict(trained, job.data, split.scored, _at_once(hardware), settings.tta)
    if not np.isfinite(predictions["logit"]).all():
        raise TrainingError(
            f"{job.folder.name}: the loss is finite, but the model's predictions are not. Train "
            "in another --run with a lower --learning-rate."
        )
    if hardware.process == 0:
        with replacing(job.folder / KERAS_MODEL) as partial:
            trained.save(partial)
        write_history(job.folder, state.history)
        # Written last: a fold counts as finished once its predictions exist.
        write_table(job.folder / OOF, predictions.assign(fold=split.fold))
        checkpoint_path(job.folder).unlink(missing_ok=True)  # four times the model's size


def plan_feeding(settings: TrainSettings, split: Split) -> Feeding:
    """Decide how the training images of a fold become batches.

    Raises:
        TrainingError: an epoch has fewer images than a batch, or `balance` cannot be followed.
    """
    seed = settings.seed + split.fold
    if settings.balance or settings.epoch_images:
        if settings.positives_repeated > 1:
            raise TrainingError(
                "--repeat-positives cannot be combined with --balance or --epoch-images: give the "
                "positive images a share instead, such as --balance target:1=0.3."
            )
        draw = draw_balanced(split.training, settings.balance, settings.epoch_images, seed)
    else:
        draw = draw_all(split.training, settings.positives_repeated)
    positives, negatives = draw.count_classes(split.training["target"].to_numpy())
    steps = draw.images // settings.batch_size
    if steps == 0:
        raise TrainingError(
            f"--batch-size {settings.batch_size} is more than the {draw.images} images that an "
            f"epoch of fold {split.fold} shows."
        )
    return Feeding(
        size=settings.size,
        batch_size=settings.batch_size,
        steps_per_epoch=min(steps, settings.steps_per_epoch or steps),
        epochs=settings.epochs,
        augmentation=settings.augmentation,
        positive_weight=choose_positive_weight(settings.loss, positives, negatives),
        draw=draw,
        diagnosis=settings.diagnosis_weight > 0,
        seed=seed,
    )


def build_fold_model(job: Job) -> keras.Model:
    """Build the network with the weights that the fold starts from."""
    settings = job.settings
    with job.hardware.scope():
        model = build_model(
            settings.backbone,
            settings.size,
            "none" if settings.weights_run else settings.weights,
            settings.dropout,
            settings.drop_connect,
            len(job.data.diagnoses) if settings.diagnosis_weight else 0,
        )
        if settings.weights_run:
            start = fold_folder(Path(settings.weights), job.split.fold) / KERAS_MODEL
            _copy_weights(keras.models.load_model(start), model)
    if job.hardware.strategy:
        # Statistics of the whole batch, as JAX computes them, not of each device's part of it.
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    return model


class Phase(NamedTuple):
    """Consecutive epochs that train the same layers."""

    frozen: bool  # the backbone keeps its weights and statistics
    first: int  # epoch
    end: int  # the epoch after the last one


def _list_phases(settings: TrainSettings) -> list[Phase]:
    turn = min(settings.freeze_epochs, settings.epochs)
    phases = [Phase(True, 0, turn), Phase(False, turn, settings.epochs)]
    return [phase for phase in phases if phase.first < phase.end]


def compile_phase(job: Job, model: keras.Model, phase: Phase) -> None:
    """Compile the model for the epochs of one phase, with a new optimizer."""
    settings, feeding = job.settings, job.feeding
    for layer in model.layers:
        layer.trainable = not phase.frozen or layer.name in ("logit", "diagnosis")
    losses = [make_loss(settings.loss)]
    if feeding.diagnosis:
        mixed = feeding.augmentation.mixup > 0  # a label is then a distribution, not a class
        losses.append(
            keras.losses.CategoricalCrossentropy(from_logits=True)
            if mixed
            else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
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
        PerStep(
            settings.schedule,
            settings.epochs,
            steps_per_epoch,
            first_epoch=phase.first,
            warmup_epochs=settings.thaw_warmup_epochs if phase.first else 0.0,
        ),
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip_norm,
        use_ema=settings.averaged_share > 0,
        ema_momentum=max(0.0, 1 - 1 / max(1.0, settings.averaged_share * steps)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def fit_phase(job: Job, model: keras.Model, state: State | None, phase: Phase) -> State:
    """Train to the end of an interrupted epoch, or else to the end of the phase.

    Args:
        state: where training was interrupted; None: it has not begun.
    """
    feeding = job.feeding
    epoch, step = (state.epoch, state.step) if state else (0, 0)
    if state:
        restore(model, state, phase.frozen)
    writes = job.hardware.process == 0
    checkpoint = Checkpoint(job.folder, job.checkpoint_minutes, phase.frozen, state, writes)
    callbacks: list[keras.callbacks.Callback] = [checkpoint]
    if job.hardware.processes == 1:  # the others' variables are out of reach
        shown = HeldOutAuc(job.data, job.split, job.hardware, _at_once(job.hardware))
        callbacks.insert(0, shown)  # before those that record it
    if writes:
        board = job.folder / "tensorboard"
        callbacks.append(keras.callbacks.TensorBoard(board, write_graph=False))
        if not sys.stdout.isatty():  # on a terminal, Keras draws a bar
            callbacks.append(Progress(feeding.epochs, feeding.steps_per_epoch, step))
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
        shuffle=False,  # the data set shuffles its own records
        verbose=1 if sys.stdout.isatty() else 2,
    )
    # Not the model's weights: Keras has replaced them by the averaged ones, and training continues
    # from the others.
    assert checkpoint.state is not None
    return checkpoint.state


def _at_once(hardware: Hardware) -> int:
    """Return how many images to predict at once: a multiple of the number of devices."""
    return hardware.devices * math.ceil(_PREDICTED_AT_ONCE / hardware.devices)


def _feed_clean_images(job: Job) -> Iterator[NDArray[np.floating]]:
    """Iterate over batches of training images of the first epoch, without augmentation."""
    feeding = job.feeding
    images = min(job.settings.batchnorm_images, feeding.draw.images)
    steps = max(1, images // feeding.batch_size)
    clean = feeding._replace(epochs=1, augmentation=NO_AUGMENTATION, steps_per_epoch=steps)
    for images, *_ in make_training_dataset(job.data, job.split.training, clean):
        yield images.numpy()


def _copy_for_inference(settings: TrainSettings, model: keras.Model) -> keras.Model:
    """Build the same network in float32, without the second head and without drop-connect."""
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("float32")
    copy = build_model(settings.backbone, settings.size, "none", drop_connect=0.0)
    keras.mixed_precision.set_global_policy(policy)
    _copy_weights(model, copy)
    return copy


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy weights between networks that differ at most in the second head, which comes last."""
    layers = [[layer for layer in model.layers if layer.weights] for model in (source, target)]
    for from_layer, to_layer in zip(*layers, strict=False):
        to_layer.set_weights(from_layer.get_weights())
        if isinstance(to_layer, keras.layers.Normalization):
            to_layer.finalize_state()
