"""Cross-validation, top to bottom: folds of shards -> models -> out-of-fold predictions.

runs/NAME/  config.json environment.json metrics.json oof.csv
            fold<k>/ checkpoint/ history.csv model.keras oof.csv
"""

import json
import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from etils import epath
from pydantic import BaseModel, ConfigDict, Field

from processing.bundle import Estimate
from training.augment import Augmentation
from training.data import Data, read_data
from training.dataset import check_shards, make_evaluation_dataset, make_training_dataset
from training.errors import TrainingError, list_differences
from training.files import replacing, write_whole
from training.folds import shards_of_fold
from training.metrics import INTERVAL_METHOD, auc
from training.model import build_model

_log = logging.getLogger(__name__)

CONFIG, ENVIRONMENT, METRICS, OOF, MODEL = (
    "config.json", "environment.json", "metrics.json", "oof.csv", "model.keras",
)  # fmt: skip
EMA_SHARE = 0.1  # the weights are averaged over about the last tenth of the steps


class TrainSettings(BaseModel):
    """What a run was asked for; with the data set and the seed it decides the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    data_sha256: str  # of its table of cases
    backbone: str
    weights: str
    folds: Annotated[int, Field(ge=2)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.5
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    augmentation: Augmentation = Augmentation()
    seed: int


class RunMetrics(BaseModel):
    """metrics.json: what the finished folds give, pooled."""

    folds_done: int
    folds: int
    images: int
    positives: int
    auc: Estimate
    interval_method: str = INTERVAL_METHOD


def cross_validate(
    settings: TrainSettings, run: Path, only_folds: Sequence[int], resume: bool
) -> RunMetrics:
    """Train the folds of `only_folds` (none given: all) and pool every fold that is done.

    Returns:
        What metrics.json holds.

    Raises:
        TrainingError: the data, the run folder or an option is not usable.
    """
    data = read_data(epath.Path(settings.data))
    size = data.build.settings.size
    check_shards(data.shards(), size)
    held_out = {
        fold: shards_of_fold(fold, settings.folds, len(data.shards()))
        for fold in range(settings.folds)
    }
    unknown = [fold for fold in only_folds if fold not in held_out]
    if unknown:
        raise TrainingError(f"--only-fold {unknown[0]}: folds are 0 to {settings.folds - 1}.")
    # Before the run folder is made: weights that cannot be had should leave nothing behind.
    build_model(settings.backbone, size, settings.weights, settings.dropout)
    _open_run(run, settings, resume)
    for fold in only_folds or held_out:
        folder = run / f"fold{fold}"
        if (folder / OOF).exists():
            _log.info("Fold %d is done already", fold)
            continue
        train_fold(settings, data, fold, held_out[fold], folder)
    return _pool(run, settings.folds)


def train_fold(
    settings: TrainSettings, data: Data, fold: int, held_out: Sequence[int], folder: Path
) -> None:
    """Train on all shards but `held_out`; save the model and its predictions for those."""
    _log.info("Fold %d of %d", fold, settings.folds)
    keras.utils.set_random_seed(settings.seed + fold)
    size = data.build.settings.size
    training = ~data.cases["shard"].isin(held_out)
    training_targets = data.cases.loc[training, "target"]
    steps = len(training_targets) // settings.batch_size
    if steps == 0:
        raise TrainingError(
            f"--batch-size {settings.batch_size} is more than the {len(training_targets)} "
            f"training images of fold {fold}."
        )
    positive_weight = (training_targets == 0).sum() / (training_targets == 1).sum()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint"

    model = build_model(settings.backbone, size, settings.weights, settings.dropout)
    model.compile(
        optimizer=_make_optimizer(settings, steps),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    history = model.fit(
        make_training_dataset(
            data.shards(sorted(set(data.cases.loc[training, "shard"]))),
            size,
            settings.batch_size,
            settings.augmentation,
            seed=settings.seed + fold,
            first_step=_finished_epochs(checkpoint) * steps,
        ),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        class_weight={0: 1.0, 1: float(positive_weight)},
        callbacks=[
            keras.callbacks.BackupAndRestore(checkpoint),
            keras.callbacks.CSVLogger(folder / "history.csv", append=True),
            keras.callbacks.TerminateOnNaN(),
        ],
        shuffle=False,  # the data set shuffles its records itself
        verbose=1 if sys.stdout.isatty() else 2,
    )
    if not np.isfinite(history.history["loss"][-1]):
        raise TrainingError(
            f"Fold {fold}: the loss is no longer finite in epoch {history.epoch[-1] + 1}. "
            "Nothing was saved. Train again with a lower --learning-rate."
        )
    with replacing(folder / MODEL) as partial:
        model.save(partial)
    _log.info("Predicting the held-out images of fold %d", fold)
    predictions = predict(model, data, held_out)
    # Last: a fold counts as done once these are there.
    write_whole(folder / OOF, predictions.assign(fold=fold).to_csv(index=False))


def _finished_epochs(checkpoint: Path) -> int:
    """Epochs that a checkpoint of BackupAndRestore holds; 0 where there is none."""
    metadata = checkpoint / "training_metadata.json"
    return json.loads(metadata.read_text())["epoch"] if metadata.exists() else 0


def predict(model: keras.Model, data: Data, shards: Sequence[int]) -> pd.DataFrame:
    """Logit of every record of some shards: columns image_name, group, target, logit."""
    parts = []
    size = data.build.settings.size
    for batch in make_evaluation_dataset(data.shards(shards), size, batch_size=32):
        logits = model.predict_on_batch(tf.cast(batch["image"], tf.float32))
        parts.append(
            pd.DataFrame(
                {
                    "image_name": batch["image_name"].numpy().astype(str),
                    "target": batch["target"].numpy()[:, 0].astype(int),
                    "logit": np.asarray(logits)[:, 0],
                }
            )
        )
    # Not the records' own group: those of a public set have none.
    return pd.concat(parts).merge(data.cases[["image_name", "group"]], validate="one_to_one")


def read_settings(run: Path) -> TrainSettings:
    """Read a run's config.json.

    Raises:
        TrainingError: `run` is no run folder.
    """
    try:
        return TrainSettings.model_validate_json((run / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run} is not a run folder: {CONFIG}: {error}") from error


def finished_folds(run: Path, folds: int) -> list[Path]:
    """Folders of the folds whose predictions are written.

    Raises:
        TrainingError: none is.
    """
    done = [run / f"fold{k}" for k in range(folds) if (run / f"fold{k}" / OOF).exists()]
    if not done:
        raise TrainingError(f"{run} has no finished fold. Train it first, or with --resume.")
    return done


def read_oof(run: Path, folds: int) -> pd.DataFrame:
    """Out-of-fold predictions of every finished fold: those of `predict`, and fold."""
    text = {"image_name": str, "group": str}
    parts = [pd.read_csv(folder / OOF, dtype=text) for folder in finished_folds(run, folds)]
    return pd.concat(parts, ignore_index=True)


def _open_run(run: Path, settings: TrainSettings, resume: bool) -> None:
    if (run / CONFIG).exists():
        differing = list_differences(read_settings(run), settings)
        if not resume:
            raise TrainingError(f"{run} exists. Go on with --resume, or choose another --run.")
        if differing:
            raise TrainingError(f"--resume with other settings: {'; '.join(differing)}.")
        return
    run.mkdir(parents=True, exist_ok=True)
    environment = {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    write_whole(run / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
    write_whole(run / CONFIG, settings.model_dump_json(indent=2) + "\n")


def _make_optimizer(settings: TrainSettings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    steps = settings.epochs * steps_per_epoch
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, steps - warmup),
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=settings.weight_decay,
        use_ema=True,
        ema_momentum=max(0.0, 1 - 1 / (EMA_SHARE * steps)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _pool(run: Path, folds: int) -> RunMetrics:
    pooled = read_oof(run, folds)
    write_whole(run / OOF, pooled.to_csv(index=False))
    metrics = RunMetrics(
        folds_done=pooled["fold"].nunique(),
        folds=folds,
        images=len(pooled),
        positives=int(pooled["target"].sum()),
        auc=auc(pooled["target"], pooled["logit"], pooled["group"]),
    )
    write_whole(run / METRICS, metrics.model_dump_json(indent=2) + "\n")
    return metrics
