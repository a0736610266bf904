"""A run as one HTML page: how its models do, how they were trained, and on what."""

import json
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
from training.train.run import ENVIRONMENT, HISTORY, RunMetrics, fold_folder, read_oof
from training.train.schedules import learning_rate_at

REPORT = "report.html"
_BINS = 40  # of the logits
_RATES = 1000  # points of the learning rate's curve
# Okabe and Ito's others, since vermilion and blue mean the classes; with the strokes there are
# enough for 16 folds. https://jfly.uni-koeln.de/color/
_FOLD_COLOURS = ("#009e73", "#e69f00", "#56b4e9", "#cc79a7")
_STROKES = ("-", "--", ":", "-.")


def write_run_report(run: Path, settings: TrainSettings, metrics: RunMetrics) -> None:
    """Write report.html of the folds done so far. It needs no other file and no script.

    Raises:
        TrainingError: no fold is done, or the disk is full.
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
        settings=_describe(settings),
        sessions=sessions,
        # Sessions of other versions of this program may tell more or less.
        session_keys=list(dict.fromkeys(key for session in sessions for key in session)),
        charts=charts,
        estimate=render_estimate,
    )


def _read_histories(run: Path, folds: int) -> dict[int, pd.DataFrame]:
    """history.csv of each fold with a whole epoch: a row for each."""
    files = {fold: fold_folder(run, fold) / HISTORY for fold in range(folds)}
    return {fold: pd.read_csv(file) for fold, file in files.items() if file.exists()}


def _describe(settings: BaseModel) -> dict[str, str]:
    """Settings in words."""
    return {name.replace("_", " "): _say(value) for name, value in settings}


def _say(value: Any) -> str:
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
    frozen = (
        f" Until epoch {min(settings.freeze_epochs, settings.epochs)} the last layer alone learned."
        if settings.freeze_epochs
        else ""
    )
    drawn = [
        ("Learning rate", f"As it was asked for.{frozen}", _draw_learning_rate(settings)),
        (
            "Training loss",
            "Mean over each epoch, of augmented images and as the loss weighs them.",
            _draw_losses(histories),
        ),
        (
            "ROC curves",
            "Thin: each fold's model on its held-out images. Thick: all of these pooled.",
            _draw_roc(oof),
        ),
        (
            "Out-of-fold logits",
            "Of one view of each image; the less the classes overlap, the better.",
            _draw_logits(oof),
        ),
    ]
    return [Chart(title, note, render_figure(plot, title)) for title, note, plot in drawn]


def _draw_learning_rate(settings: TrainSettings) -> Figure:
    epochs = np.linspace(0, settings.epochs, _RATES, dtype=np.float32)
    rates = learning_rate_at(settings.schedule, epochs, settings.epochs)
    figure, axes = make_figure()
    axes.plot(epochs, keras.ops.convert_to_numpy(rates), color=INK)
    axes.set(xlim=(0, settings.epochs), ylim=0, xlabel="epochs trained", ylabel="learning rate")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))
    return figure


def _draw_losses(histories: dict[int, pd.DataFrame]) -> Figure:
    figure, axes = make_figure(lines=len(histories))
    for fold, history in histories.items():
        # Points, too: one epoch alone makes no line.
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
    """Colour and stroke of a fold, the same in every plot."""
    stroke, colour = divmod(fold, len(_FOLD_COLOURS))
    return {
        "color": _FOLD_COLOURS[colour],
        "linestyle": _STROKES[stroke % len(_STROKES)],
        "label": f"fold {fold}",
    }
