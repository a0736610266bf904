"""A run as one HTML page: how good its models are, and how and where they were trained."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from etils import epath
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import BaseModel
from sklearn.metrics import roc_curve

from training.pages import (
    INK,
    LEGEND_COLUMNS,
    STYLE,
    Chart,
    draw_histograms,
    make_figure,
    render_figure,
    write_page,
)
from training.recipe import TrainSettings
from training.text import render_estimate
from training.train.run import DRAWN, ENVIRONMENT, HISTORY, RunMetrics, fold_folder, read_oof
from training.train.schedules import learning_rate_at, thaw_factor

REPORT = "report.html"
_BINS = 40  # of the histogram of logits
_RATES = 1000  # points on the curve of the learning rate
# Four more of Okabe and Ito's colours, since vermilion and blue stand for the classes; with the
# strokes they are enough for 16 folds. https://jfly.uni-koeln.de/color/
_FOLD_COLOURS = ("#009e73", "#e69f00", "#56b4e9", "#cc79a7")
_STROKES = ("-", "--", ":", "-.")


def write_run_report(run: Path, settings: TrainSettings, metrics: RunMetrics) -> None:
    """Write report.html of the folds finished so far: one file, without scripts.

    Raises:
        TrainingError: no fold is finished, or the disk is full.
    """
    histories = _read_histories(run, settings.folds)
    done = {fold.fold for fold in metrics.by_fold}
    with rc_context(STYLE):
        charts = _make_charts(settings, histories, read_oof(run, settings.folds))
    sessions = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
    write_page(
        "run_report.html",
        epath.Path(run / REPORT),
        folder=run.resolve(),
        metrics=metrics,
        unfinished={fold: each for fold, each in histories.items() if fold not in done},
        drawn=_read_drawn(run, settings) if settings.balance or settings.epoch_images else None,
        settings=_describe(settings),
        sessions=sessions,
        # Other versions of this program may have recorded more or fewer keys.
        session_keys=list(dict.fromkeys(key for session in sessions for key in session)),
        charts=charts,
        estimate=render_estimate,
    )


def _read_histories(run: Path, folds: int) -> dict[int, pd.DataFrame]:
    """Read history.csv, a row for each epoch, of the folds with a finished epoch."""
    files = {fold: fold_folder(run, fold) / HISTORY for fold in range(folds)}
    return {fold: pd.read_csv(file) for fold, file in files.items() if file.exists()}


def _read_drawn(run: Path, settings: TrainSettings) -> list[dict[Hashable, Any]]:
    """Read drawn.csv, a row for each stratum, of the folds that have begun."""
    files = {fold: fold_folder(run, fold) / DRAWN for fold in range(settings.folds)}
    tables = [pd.read_csv(file).assign(fold=fold) for fold, file in files.items() if file.exists()]
    return pd.concat(tables).to_dict("records")


def _describe(settings: BaseModel) -> dict[str, str]:
    """Render settings as names and texts."""
    return {name.replace("_", " "): _render(value) for name, value in settings}


def _render(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name}: {text}" for name, text in _describe(value).items())
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if value is None:
        return "default"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _make_charts(
    settings: TrainSettings, histories: dict[int, pd.DataFrame], oof: pd.DataFrame
) -> list[Chart]:
    frozen = min(settings.freeze_epochs, settings.epochs)
    until = f" Until epoch {frozen}, only the last layer was trained." if frozen else ""
    drawn = [
        ("Learning rate", f"As the schedule sets it.{until}", _draw_learning_rate(settings)),
        (
            "Training loss",
            "Mean over each epoch, on augmented images, weighted as in training.",
            _draw_losses(histories),
        ),
        (
            "ROC curves",
            "Thin: each fold's model on its held-out images. Thick: all folds pooled.",
            _draw_roc(oof),
        ),
        (
            "Out-of-fold logits",
            "From one view of each image. The less the classes overlap, the better.",
            _draw_logits(oof),
        ),
    ]
    return [Chart(title, note, render_figure(plot, title)) for title, note, plot in drawn]


def _draw_learning_rate(settings: TrainSettings) -> Figure:
    epochs = np.linspace(0, settings.epochs, _RATES, dtype=np.float32)
    rates = learning_rate_at(settings.schedule, epochs, settings.epochs)
    thaw = settings.freeze_epochs
    if 0 < thaw < settings.epochs:
        risen = thaw_factor(epochs, thaw, settings.thaw_warmup_epochs)
        rates = rates * np.where(epochs < thaw, 1.0, risen)
    figure, axes = make_figure()
    axes.plot(epochs, keras.ops.convert_to_numpy(rates), color=INK)
    axes.set(xlim=(0, settings.epochs), ylim=0, xlabel="epochs trained", ylabel="learning rate")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))
    return figure


def _draw_losses(histories: dict[int, pd.DataFrame]) -> Figure:
    figure, axes = make_figure(lines=len(histories))
    for fold, history in histories.items():
        # With markers, because a single epoch makes no line.
        axes.plot(history["epoch"], history["loss"], marker=".", **_look_of(fold))
    axes.set(xlabel="epoch", ylabel="mean loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
    return figure


def _draw_roc(oof: pd.DataFrame) -> Figure:
    figure, axes = make_figure(lines=oof["fold"].nunique() + 1)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.5, linestyle=":")  # chance
    for fold, rows in oof.groupby("fold"):
        axes.plot(*_roc(rows), linewidth=0.8, **_look_of(int(str(fold))))
    axes.plot(*_roc(oof), color=INK, linewidth=2, label="pooled")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
    return figure


def _roc(oof: pd.DataFrame) -> tuple[Any, Any]:
    one_minus_specificity, sensitivity, _ = roc_curve(oof["target"], oof["logit"])
    return one_minus_specificity, sensitivity


def _draw_logits(oof: pd.DataFrame) -> Figure:
    bins = np.histogram_bin_edges(oof["logit"], _BINS)
    figure, _ = draw_histograms(oof["logit"], oof["target"], bins, "logit")
    return figure


def _look_of(fold: int) -> dict[str, Any]:
    """Return the colour and stroke of a fold, the same in every plot."""
    stroke, colour = divmod(fold, len(_FOLD_COLOURS))
    return {
        "color": _FOLD_COLOURS[colour],
        "linestyle": _STROKES[stroke % len(_STROKES)],
        "label": f"fold {fold}",
    }
