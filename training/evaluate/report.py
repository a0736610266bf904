"""An evaluation as one HTML page, metrics.json, and CSV files for the ISIC challenges' scorer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from etils import epath
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve

from training.data.folder import Data
from training.data.vocabulary import TARGETS
from training.evaluate.evaluation import OUT_OF_FOLD, Evaluation, Measured
from training.evaluate.figures import choose_calibrated
from training.files import write_table, write_whole
from training.inspect.sheets import encode_cases
from training.metrics.intervals import INTERVAL_METHOD, PROPORTION_METHOD
from training.metrics.ranking import Ranking
from training.pages import (
    INK,
    STYLE,
    Chart,
    draw_histograms,
    make_figure,
    render_figure,
    write_page,
)
from training.serving.calibration import name_threshold
from training.text import render_estimate

INDEX, EVALUATION = "index.html", "metrics.json"
_MISTAKES = 24
_BINS = 40
_RELIABILITY_BINS = 10
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")


def write_evaluation(measured: Measured, out: Path) -> None:
    """Write the folder `out`: index.html, metrics.json, and two CSV files for each test set.

    `<test>.csv` has the probabilities and `<test>-truth.csv` the labels, each in the columns image,
    MEL and NOT that `isic-challenge-scoring classification TRUTH PREDICTION` reads.
    """
    evaluation = measured.evaluation
    out.mkdir(parents=True, exist_ok=True)
    for name, test in measured.datasets.items():
        if name == OUT_OF_FOLD:
            continue
        for suffix, column in (("", "probability"), ("-truth", "target")):
            scored = _tabulate_for_scorer(measured.predictions[name], column)
            write_table(out / f"{test.folder.name}{suffix}.csv", scored)
    write_whole(out / EVALUATION, evaluation.model_dump_json(indent=2) + "\n")
    with rc_context(STYLE):
        charts = _draw_charts(measured)
    write_page(
        "evaluation.html",
        epath.Path(out / INDEX),
        evaluation=evaluation,
        plural=TARGETS[evaluation.target].plural,
        charts=charts,
        mistakes={
            name: _list_mistakes(measured.predictions[name], data)
            for name, data in measured.datasets.items()
        },
        interval_method=INTERVAL_METHOD,
        proportion_method=PROPORTION_METHOD,
        estimate=render_estimate,
    )


def _tabulate_for_scorer(table: pd.DataFrame, column: str) -> pd.DataFrame:
    values = table[column].astype(float)
    return pd.DataFrame({"image": table["image_name"], "MEL": values, "NOT": 1 - values})


def _list_mistakes(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """List the images that are furthest on the wrong side, with a data URI in `uri`."""
    wrong = np.abs(table["probability"] - table["target"])
    worst = table.assign(wrong=wrong).nlargest(_MISTAKES, "wrong")
    cases = worst.merge(data.cases.drop(columns=["target", "group"]), on="image_name")
    return encode_cases(data, cases)


def _draw_charts(measured: Measured) -> list[Chart]:
    predictions, evaluation = measured.predictions, measured.evaluation
    in_use = name_threshold(evaluation.evidence.operating_point)
    thresholds = [each.in_force.threshold for each in evaluation.evidence.list_held()]
    base_rates = {j.dataset: j.positives / j.images for j in evaluation.judgements}
    drawn: list[tuple[str, str, Figure]] = [
        (
            "ROC curves",
            "The dot marks the thresholds in use, which were chosen out of fold.",
            _draw_each(predictions, lambda axes, t, c, n: _draw_roc(axes, t, c, n, in_use)),
        ),
        (
            "Precision and recall",
            "Precision depends on the share of positives: "
            + ", ".join(f"{name} {rate:.0%}" for name, rate in base_rates.items())
            + ".",
            _draw_each(predictions, _draw_precision),
        ),
        (
            "Reliability",
            "Share of positives among images with about this probability. On the diagonal, "
            "probabilities are correct. Dotted: before calibration.",
            _draw_each(predictions, _draw_reliability),
        ),
        (
            "Decision curve",
            "Net benefit per image (Vickers & Elkin 2006): positives found, minus false alarms "
            "weighted by the odds of the threshold, where "
            f"{evaluation.assumed_prevalence:.0%} are positive. "
            + _describe_shift(evaluation)
            + "Grey: everybody is referred.",
            _draw_decisions(predictions, evaluation),
        ),
    ]
    charts = [Chart(title, note, render_figure(figure, title)) for title, note, figure in drawn]
    for name, table in predictions.items():
        title = f"Probabilities, {name}"
        figure = _draw_histogram(table, thresholds)
        kinds = " and ".join(evaluation.evidence.modalities)
        note = (
            f"The lines mark the thresholds in use: {kinds}."
            if kinds
            else "The line marks the threshold in use."
        )
        charts.append(Chart(title, note, render_figure(figure, title)))
    return charts


_Draw = Callable[..., None]


def _draw_each(predictions: dict[str, pd.DataFrame], draw: _Draw) -> Figure:
    figure, axes = make_figure(len(predictions))
    for colour, (name, table) in zip(_COLOURS * 5, predictions.items(), strict=False):
        draw(axes, table, colour, name)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_roc(axes: Axes, table: pd.DataFrame, colour: str, name: str, in_use: str) -> None:
    curve = Ranking(table["target"], table["probability"]).curve()
    axes.plot(1 - curve.specificity, curve.sensitivity, color=colour, label=name)
    called, positive = table["probability"] >= table[in_use], table["target"] == 1
    axes.plot(called[~positive].mean(), called[positive].mean(), "o", color=colour)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")


def _draw_precision(axes: Axes, table: pd.DataFrame, colour: str, name: str) -> None:
    precision, recall, _ = precision_recall_curve(table["target"], table["probability"])
    axes.plot(recall, precision, color=colour, label=name)
    axes.set(xlabel="sensitivity (recall)", ylabel="precision")


def _draw_reliability(axes: Axes, table: pd.DataFrame, colour: str, name: str) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.5)
    before = expit(table["logit"].to_numpy())
    for probability, style in ((choose_calibrated(table), "o-"), (before, ".:")):
        x, y = _bin(probability, table["target"].to_numpy())
        label = name if style == "o-" else None
        axes.plot(x, y, style, color=colour, markersize=4, label=label)
    axes.set(xlabel="probability", ylabel="share of positives")


def _bin(
    probability: NDArray[np.floating], target: NDArray[np.integer]
) -> tuple[list[float], list[float]]:
    parts = np.array_split(np.argsort(probability), _RELIABILITY_BINS)
    return [float(probability[p].mean()) for p in parts], [float(target[p].mean()) for p in parts]


def _describe_shift(evaluation: Evaluation) -> str:
    if evaluation.calibrated_prevalence is None:
        return "Probabilities are as calibrated, to a share of positives that is not known. "
    return (
        "Probabilities are shifted to that share from the "
        f"{evaluation.calibrated_prevalence:.0%} that they are calibrated to. "
    )


def net_benefit(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    thresholds: NDArray[np.floating],
    prevalence: float,
) -> NDArray[np.float64]:
    """Compute the net benefit per image at each threshold, as if `prevalence` were positive.

    prevalence * sensitivity - odds * (1 - prevalence) * (1 - specificity), with the odds of the
    threshold (Vickers & Elkin 2006, and for another prevalence their equation with its weights).

    Args:
        target: (N,) 0 or 1, both of them.
        probability: (N,), at that prevalence.
        thresholds: (T,), 0..1.
    """
    positive = target == 1
    called = probability[:, None] >= thresholds
    odds = thresholds / (1 - thresholds)
    found, alarmed = called[positive].mean(axis=0), called[~positive].mean(axis=0)
    benefit: NDArray[np.float64] = prevalence * found - odds * (1 - prevalence) * alarmed
    return benefit


def shift_prevalence(
    probability: NDArray[np.floating], there: float, here: float
) -> NDArray[np.float64]:
    """Turn probabilities (N,) that hold where a share `there` is positive into those for `here`.

    By Bayes' rule the odds change as those of the shares do (Saerens et al. 2002).
    """
    shifted: NDArray[np.float64] = expit(logit(probability) + logit(here) - logit(there))
    return shifted


def _draw_decisions(predictions: dict[str, pd.DataFrame], evaluation: Evaluation) -> Figure:
    figure, axes = make_figure(len(predictions) + 1)
    thresholds = np.linspace(0.005, 0.5, 100)
    prevalence, odds = evaluation.assumed_prevalence, thresholds / (1 - thresholds)
    axes.plot(thresholds, prevalence - odds * (1 - prevalence), color="#888888", linewidth=0.8)
    highest = 0.0
    for colour, (name, table) in zip(_COLOURS * 5, predictions.items(), strict=False):
        probability = choose_calibrated(table)
        if evaluation.calibrated_prevalence is not None:
            probability = shift_prevalence(
                probability, evaluation.calibrated_prevalence, prevalence
            )
        benefit = net_benefit(table["target"].to_numpy(), probability, thresholds, prevalence)
        axes.plot(thresholds, benefit, color=colour, label=name)
        highest = max(highest, float(benefit.max()))
    axes.axhline(0, color=INK, linewidth=0.5)
    axes.set(xlim=(0, 0.5), ylim=(-0.1 * highest, 1.1 * highest))
    axes.set(xlabel="threshold", ylabel="net benefit")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_histogram(table: pd.DataFrame, thresholds: list[float]) -> Figure:
    bins = np.linspace(0, 1, _BINS + 1)
    figure, axes = draw_histograms(table["probability"], table["target"], bins, "probability")
    for threshold in thresholds:
        axes.axvline(threshold, color=INK, linewidth=1)
    axes.set(xlim=(0, 1))
    return figure
