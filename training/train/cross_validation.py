"""Cross-validation from top to bottom: folds of shards, models, out-of-fold predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path

from training.data.batches import check_first_records
from training.data.folder import Data
from training.data.tfrecords import naming_damage
from training.errors import TrainingError
from training.files import is_full
from training.model.network import build_model
from training.recipe import CHECKPOINT_MINUTES, TrainSettings, list_changes
from training.train.fold import Job, plan_feeding, train_fold
from training.train.hardware import check_batch_size, check_mixtures, find_hardware
from training.train.report import write_run_report
from training.train.run import (
    RunMetrics,
    check_run,
    fold_folder,
    is_finished,
    note_environment,
    open_run,
    pool,
)
from training.train.splits import check_start, split_folds

_log = logging.getLogger(__name__)


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
    """Train some folds of a run, pool all folds that are finished, and write the run's report.

    Args:
        only_folds: the folds to train; none: all of them.
        resume: continue the run in this folder.
        checkpoint_minutes: time between checkpoints within an epoch.
        precision: Keras's dtype policy, or auto.

    Returns:
        The content of metrics.json; None in every process but the first.

    Raises:
        TrainingError: the data, the run folder or an option cannot be used.
    """
    splits = split_folds(settings, data)
    unknown = [fold for fold in only_folds if fold not in splits]
    if unknown:
        raise TrainingError(f"--only-fold {unknown[0]}: folds are 0 to {settings.folds - 1}.")
    feedings = {fold: plan_feeding(settings, splits[fold]) for fold in only_folds or splits}
    check_first_records(data.shards(), data.build.settings.size)
    hardware = find_hardware(precision)
    check_batch_size(settings.batch_size, hardware)
    check_mixtures(settings, hardware)
    if hardware.process == 0:
        check_run(run, settings, resume)
    # Before the run folder is made, so that weights that are not available leave nothing behind.
    if settings.weights_run:
        check_start(settings, data, settings.weights_run, only_folds or splits)
    else:
        build_model(settings.backbone, settings.size, settings.weights)
    changes = list_changes(settings)
    _log.info("Settings: %s", "; ".join(changes) if changes else "the defaults")
    if hardware.process == 0:
        open_run(run, settings)
        note_environment(run, hardware.description, hardware.precision)
    for fold, feeding in feedings.items():
        folder = fold_folder(run, fold)
        if is_finished(run, fold):
            _log.info("Fold %d is already finished", fold)
            continue
        _log.info("Fold %d of %d", fold, settings.folds)
        job = Job(
            settings=settings,
            data=data,
            split=splits[fold],
            feeding=feeding,
            folder=folder,
            hardware=hardware,
            checkpoint_minutes=checkpoint_minutes,
        )
        try:
            with naming_damage(data.shards()):
                train_fold(job)
        except Exception as error:
            if is_full(error):  # also where we do not write ourselves, as in TensorBoard's files
                raise TrainingError(
                    f"{folder}: the disk is full. The last checkpoint is kept: free some space and "
                    "continue with --resume."
                ) from error
            raise
    if hardware.process:  # the first process writes
        return None
    metrics = pool(run, settings.folds)
    write_run_report(run, settings, metrics)
    return metrics
