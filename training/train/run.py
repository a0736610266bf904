"""The folder of a run: its settings, the machines it ran on, and its results.

runs/NAME/  config.json environment.json metrics.json oof.csv report.html
            fold<k>/ drawn.csv checkpoint.npz history.csv tensorboard/ model.keras oof.csv
"""

import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ValidationError

from processing.manifest import Estimate
from training.errors import TrainingError, list_differences
from training.files import release_cells, write_table, write_whole
from training.metrics.intervals import INTERVAL_METHOD, auc
from training.recipe import TrainSettings, explain
from training.text import align, render_estimate

CONFIG, ENVIRONMENT, METRICS, OOF = "config.json", "environment.json", "metrics.json", "oof.csv"
KERAS_MODEL, HISTORY, DRAWN = "model.keras", "history.csv", "drawn.csv"
# TensorFlow has several package names: Kaggle's TPU image has tensorflow-cpu.
_PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu", "keras", "jax", "numpy")


class Measured(BaseModel):
    """How well models do on images that they were not trained on."""

    images: int
    positives: int
    auc: Estimate  # from one view of each image, as it will be served
    auc_tta: Estimate | None  # from the mean logit over eight orientations
    seconds: float  # of training


class FoldMetrics(Measured):
    """How well one fold's model does."""

    fold: int
    epochs: int


class RunMetrics(Measured):
    """metrics.json: the finished folds, pooled and one by one."""

    folds_done: int
    folds: int
    interval_method: str = INTERVAL_METHOD
    by_fold: list[FoldMetrics]


def check_run(run: Path, settings: TrainSettings, resume: bool) -> None:
    """Check that a run can be started or, with `resume`, continued.

    Raises:
        TrainingError: the run exists and `resume` is not set, or the reverse, or its settings
            differ.
    """
    if not (run / CONFIG).exists():
        if resume:
            raise TrainingError(f"--resume: {run} holds no run yet. Start it without --resume.")
        return
    if not resume:
        raise TrainingError(f"{run} exists. Continue it with --resume, or choose another --run.")
    # The data folder may have moved; the hash of its table of cases shows whether it is the same.
    there = read_settings(run).model_copy(update={"data": settings.data})
    if there.crop_fraction is None:  # begun before a run recorded how its squares were cut
        cut = {"crop_fraction": settings.crop_fraction, "pixel_path": settings.pixel_path}
        there = there.model_copy(update=cut)
    if differing := list_differences(there, settings):
        raise TrainingError(
            f"{run}: --resume with other settings: {'; '.join(differing)}. Leave them out, or "
            "choose another --run."
        )


def open_run(run: Path, settings: TrainSettings) -> None:
    """Make the run folder and write its settings, with the present path of its data."""
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / CONFIG, settings.model_dump_json(indent=2) + "\n")


def note_environment(run: Path, hardware: str, precision: str) -> None:
    """Add this session to environment.json, unless it equals the last one."""
    packages = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    session = {
        "python": platform.python_version(),
        "machine": platform.platform(),
        **packages,
        "hardware": hardware,
        "precision": precision,
    }
    path = run / ENVIRONMENT
    sessions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if sessions[-1:] != [session]:
        write_whole(path, json.dumps([*sessions, session], indent=2) + "\n")


def read_settings(run: Path) -> TrainSettings:
    """Read a run's config.json.

    Raises:
        TrainingError: `run` is not a run folder, or its settings are damaged.
    """
    try:
        return TrainSettings.model_validate_json((run / CONFIG).read_bytes())
    except OSError as error:
        raise TrainingError(f"{run} is not a run folder: {CONFIG}: {error.strerror}.") from error
    except ValidationError as error:
        fault = explain(error, TrainSettings)
        raise TrainingError(f"{run} is not a run folder: {CONFIG}: {fault}") from error


def fold_folder(run: Path, fold: int) -> Path:
    """Return the folder of a fold."""
    return run / f"fold{fold}"


def is_finished(run: Path, fold: int) -> bool:
    """Whether a fold is finished: its predictions are written last."""
    return (fold_folder(run, fold) / OOF).exists()


def finished_folds(run: Path, folds: int) -> list[Path]:
    """List the folders of the finished folds: those whose predictions are written.

    Raises:
        TrainingError: no fold is finished.
    """
    done = [fold_folder(run, k) for k in range(folds) if is_finished(run, k)]
    if not done:
        raise TrainingError(f"{run} has no finished fold. Train one first.")
    return done


def read_oof(run: Path, folds: int) -> pd.DataFrame:
    """Read the out-of-fold predictions of all finished folds.

    Returns:
        Columns image_name, target, group, logit (of one view), fold, and, if the run has it,
        logit_tta (the mean over eight orientations).

    Raises:
        TrainingError: no fold is finished.
    """
    text = {"image_name": str, "group": str}
    parts = [pd.read_csv(folder / OOF, dtype=text) for folder in finished_folds(run, folds)]
    return release_cells(pd.concat(parts, ignore_index=True))


def pool(run: Path, folds: int) -> RunMetrics:
    """Pool the finished folds, and write oof.csv and metrics.json of the run."""
    oof = read_oof(run, folds)
    write_table(run / OOF, oof)
    by_fold = []
    for fold in sorted(set(oof["fold"])):
        rows = oof[oof["fold"] == fold]
        history = pd.read_csv(fold_folder(run, fold) / HISTORY)
        by_fold.append(
            FoldMetrics(
                fold=fold,
                **_measure(rows),
                epochs=len(history),
                seconds=round(float(history["seconds"].sum()), 3),
            )
        )
    metrics = RunMetrics(
        folds_done=len(by_fold),
        folds=folds,
        **_measure(oof),
        seconds=round(sum(fold.seconds for fold in by_fold), 3),
        by_fold=by_fold,
    )
    write_whole(run / METRICS, metrics.model_dump_json(indent=2) + "\n")
    return metrics


def _measure(oof: pd.DataFrame) -> dict[str, Any]:
    target, group = oof["target"], oof["group"]
    return {
        "images": len(oof),
        "positives": int(target.sum()),
        "auc": auc(target, oof["logit"], group),
        "auc_tta": auc(target, oof["logit_tta"], group) if "logit_tta" in oof else None,
    }


def render_metrics(metrics: RunMetrics) -> str:
    """Render metrics as a table: a line for each fold, and one for all folds pooled."""
    rows = [("fold", "images", "positive", "AUC (95 % interval)", "AUC, 8 views", "minutes")]
    measured: list[tuple[str, Measured]] = [(str(fold.fold), fold) for fold in metrics.by_fold]
    for name, each in [*measured, ("pooled", metrics)]:
        tta = render_estimate(each.auc_tta) if each.auc_tta else "-"
        minutes = f"{each.seconds / 60:.1f}"
        counts = f"{each.images:,}", f"{each.positives:,}"
        rows.append((name, *counts, render_estimate(each.auc), tta, minutes))
    return align(rows)
