"""How well predictions separate positives from others: all figures of a report, with intervals."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from processing.manifest import Estimate, Evidence
from training.errors import TrainingError
from training.inspect.shortcuts import Shortcut, carry_shortcuts, measure_shortcuts
from training.metrics.intervals import auc, bootstrap, proportion, sensitivity, specificity
from training.metrics.ranking import Ranking
from training.serving.calibration import HELD_OUT, name_threshold
from training.strict import StrictModel

_LEVELS = (0.80, 0.90, 0.95)  # sensitivity at each specificity, and the other way round
# Share of positives among examined lesions: low in the whole population, higher among those that a
# doctor refers. Data sets have a prevalence of their own, at which predictive values mean little.
_PREVALENCES = (0.01, 0.05, 0.20)
# The share that the decision curve assumes: about that of skin lesions which a doctor examines.
ASSUMED_PREVALENCE = 0.05
_BINS = 10  # of the calibration error, with equal numbers of images
_ECE = "calibration error"
_AGE_BANDS = {"under 30": 0, "30 to 49": 30, "50 to 69": 50, "70 and over": 70}  # from years
_SIDES = {"under 500 px": 0, "500 to 999 px": 500, "1000 px and over": 1000}
UNKNOWN = "not known"  # subgroup of the images that lack a value
_FEWEST = 5  # images of a class that a figure of a subgroup needs


class AtThreshold(StrictModel):
    """Sensitivity and specificity at a threshold that was chosen elsewhere."""

    operating_point: str
    sensitivity: Estimate
    specificity: Estimate


class PredictiveValues(StrictModel):
    """Predictive values at the threshold in use, for a given share of positives."""

    prevalence: float
    positive: Estimate | None  # share of positives among those called positive; None: none is
    negative: Estimate | None  # share of negatives among those called negative


class Subgroup(StrictModel):
    """Figures on a part of the images; None where it has too few."""

    by: str
    name: str
    images: int
    positives: int
    auc: Estimate | None
    sensitivity: Estimate | None  # at the threshold in use
    specificity: Estimate | None
    refused: Estimate | None  # share rejected as not a lesion


class LesionFigures(StrictModel):
    """Figures with the mean probability of a lesion's images in the place of each image's."""

    lesions: int
    positives: int
    auc: Estimate
    sensitivity: Estimate  # at the threshold in use
    specificity: Estimate


class Judgement(StrictModel):
    """All figures on one data set."""

    dataset: str
    images: int
    positives: int
    groups: int
    figures: dict[str, Estimate]
    at_thresholds: tuple[AtThreshold, ...]
    predictive_values: tuple[PredictiveValues, ...]
    refused: Estimate | None  # share rejected as not a lesion; all figures include these images
    told: Estimate | None  # share whose kind of photo is told right; None: it is not told
    central: Estimate  # mean share of the heat map's mass in the centre of the square
    by_lesion: LesionFigures | None  # None: no lesion has several images
    subgroups: tuple[Subgroup, ...]
    baselines: tuple[Shortcut, ...]
    # On what the baselines were fitted: on the cases that the model was trained on, or on the other
    # folds of this data set.
    baselines_fitted_on: Literal["the training data", "this data set"]
    no_baselines: str  # the reason why there are none; "" if there are some


def judge(
    dataset: str,
    predictions: pd.DataFrame,
    cases: pd.DataFrame,
    evidence: Evidence,
    folds: int,
    training: pd.DataFrame | None = None,
) -> Judgement:
    """Measure everything on one data set.

    Args:
        predictions: columns image_name, target, group, logit, probability, central, told and
            outlier, which are missing where they were not measured, and for each operating point
            its threshold in the column `training.serving.calibration.name_threshold` of its name.
            Out of fold also the rest of what `cross_fit` adds: thresholds and calibration are then
            those of the other folds.
        cases: the table of cases, with a row for each of the images.
        evidence: names the operating points, which were chosen on other images or out of fold.
        folds: number of folds to measure the baselines with, where `training` is None.
        training: cases to fit the baselines on, none of which is judged.

    Raises:
        TrainingError: one class is missing.
    """
    table = predictions.merge(
        cases.drop(columns=["target", "group"]), on="image_name", validate="one_to_one"
    )
    target, group = table["target"].to_numpy(), table["group"].to_numpy()
    if len(np.unique(target)) < 2:
        raise TrainingError(
            f"{dataset}: all {len(table)} images are of one class, so nothing can be measured. "
            "Evaluate on a data set with both classes."
        )
    probability = table["probability"].to_numpy()
    central = table["central"].to_numpy()
    names = [point.name for point in evidence.operating_points]
    called = {name: probability >= table[name_threshold(name)].to_numpy() for name in names}
    table["threshold"] = table[name_threshold(evidence.operating_point)]
    table["called"] = called[evidence.operating_point]
    try:
        if training is None:
            baselines, no_baselines = tuple(measure_shortcuts(table, folds)), ""
        else:
            baselines, no_baselines = tuple(carry_shortcuts(training, table)), ""
    except TrainingError as error:
        baselines, no_baselines = (), str(error)
    return Judgement(
        dataset=dataset,
        images=len(table),
        positives=int(target.sum()),
        groups=table["group"].nunique(),
        figures=_measure_figures(table),
        at_thresholds=tuple(
            AtThreshold(
                operating_point=name,
                sensitivity=sensitivity(target, called[name], group),
                specificity=specificity(target, called[name], group),
            )
            for name in names
        ),
        predictive_values=_measure_predictive_values(table),
        refused=_measure_refusals(table),
        told=_measure_told(table),
        central=bootstrap(lambda w: {"": float(w @ central / w.sum())}, group)[""],
        by_lesion=_measure_lesions(table),
        subgroups=tuple(_measure_subgroups(table)),
        baselines=baselines,
        baselines_fitted_on="this data set" if training is None else "the training data",
        no_baselines=no_baselines,
    )


def _measure_figures(table: pd.DataFrame) -> dict[str, Estimate]:
    target, probability = table["target"].to_numpy(), table["probability"].to_numpy()
    ranking = Ranking(target, probability)
    uncalibrated = expit(table["logit"].to_numpy())
    # For the ranks one calibration for all folds; for the values one that the fold did not choose.
    probability = choose_calibrated(table)
    errors = {
        f"{_ECE} before": (_bins_of(uncalibrated), uncalibrated - target),
        f"{_ECE} after": (_bins_of(probability), probability - target),
    }

    def measure(weights: NDArray[np.int64]) -> dict[str, float]:
        curve = ranking.curve(weights)
        figures = {
            "AUC": curve.auc(),
            "partial AUC above sensitivity 0.80": curve.partial_auc(0.8),
            "average precision": curve.average_precision(),
        }
        for level in _LEVELS:
            figures[f"sensitivity at specificity {level:.2f}"] = curve.sensitivity_at(level)
        for level in _LEVELS:
            figures[f"specificity at sensitivity {level:.2f}"] = curve.specificity_at(level)
        figures["Brier score"] = float(weights @ (probability - target) ** 2 / weights.sum())
        for name, (bins, error) in errors.items():
            of_bins = np.bincount(bins, weights * error)
            figures[name] = float(np.abs(of_bins).sum() / weights.sum())
        return figures

    figures = bootstrap(measure, table["group"])
    return {name: _reflect(each) if name in errors else each for name, each in figures.items()}


def choose_calibrated(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """Return the probabilities (N,) by a calibration that was not fitted on the image's own fold.

    Args:
        predictions: as `judge` takes them.
    """
    column = HELD_OUT if HELD_OUT in predictions else "probability"
    return predictions[column].to_numpy(np.float64)


def _bins_of(probability: NDArray[np.floating]) -> NDArray[np.int64]:
    ranks = np.argsort(np.argsort(probability, kind="stable"))
    return ranks * _BINS // len(ranks)


def _reflect(estimate: Estimate) -> Estimate:
    """Replace the percentile interval by the basic one (Efron & Tibshirani 1993, chapter 13).

    Resampling adds noise to each bin, which raises a mean of absolute errors: its percentiles lie
    too high by about as much as they exceed the estimate.
    """
    value = estimate.value
    return Estimate(
        value=value,
        low=max(0.0, 2 * value - estimate.high),
        high=min(1.0, max(value, 2 * value - estimate.low)),
    )


def _measure_predictive_values(table: pd.DataFrame) -> tuple[PredictiveValues, ...]:
    positive, called = table["target"].to_numpy() == 1, table["called"].to_numpy()

    def measure(weights: NDArray[np.int64]) -> dict[str, float]:
        if not (weights[positive].sum() and weights[~positive].sum()):
            return dict.fromkeys((f"{p}{s}" for p in _PREVALENCES for s in "+-"), float("nan"))
        found = float(weights[positive & called].sum() / weights[positive].sum())
        cleared = float(weights[~positive & ~called].sum() / weights[~positive].sum())
        values = {}
        for prevalence in _PREVALENCES:
            ill, well = prevalence, 1 - prevalence
            values[f"{prevalence}+"] = _share(ill * found, well * (1 - cleared))
            values[f"{prevalence}-"] = _share(well * cleared, ill * (1 - found))
        return values

    values = bootstrap(measure, table["group"])
    return tuple(
        PredictiveValues(prevalence=p, positive=values.get(f"{p}+"), negative=values.get(f"{p}-"))
        for p in _PREVALENCES
    )


def _share(this: float, other: float) -> float:
    return this / (this + other) if this + other else float("nan")


def _measure_refusals(table: pd.DataFrame) -> Estimate | None:
    measured = table[table["outlier"].notna()]
    if measured.empty:
        return None
    return proportion(measured["outlier"].to_numpy(bool), measured["group"].to_numpy())


def _measure_told(table: pd.DataFrame) -> Estimate | None:
    known = table[table["told"].notna() & (table["told"] != "") & (table["modality"] != "")]
    if known.empty:
        return None
    return proportion((known["told"] == known["modality"]).to_numpy(), known["group"].to_numpy())


def _measure_lesions(table: pd.DataFrame) -> LesionFigures | None:
    lesion = table["lesion_id"].where(table["lesion_id"] != "", table["image_name"])
    if not lesion.duplicated().any():
        return None
    # All images of a lesion are in one fold, and so have one threshold.
    columns = {"target": "max", "probability": "mean", "threshold": "first", "group": "first"}
    lesions = table.groupby(lesion, sort=False).agg(columns)
    target, group = lesions["target"], lesions["group"]
    called = lesions["probability"] >= lesions["threshold"]
    return LesionFigures(
        lesions=len(lesions),
        positives=int(target.sum()),
        auc=auc(target, lesions["probability"], group),
        sensitivity=sensitivity(target, called, group),
        specificity=specificity(target, called, group),
    )


def _measure_subgroups(table: pd.DataFrame) -> list[Subgroup]:
    side = table[["width", "height"]].min(axis=1)
    grouped = {
        "diagnosis": table["diagnosis"].replace("", UNKNOWN),
        "modality": table["modality"].replace("", UNKNOWN),
        "skin tone, 0 very dark to 5 very light": table["skin_tone"].replace("", UNKNOWN),
        "sex": table["sex"].replace("", UNKNOWN),
        "age": _band(table["age_approx"], _AGE_BANDS),
        "site": table["anatom_site"].replace("", UNKNOWN),
        "source": _name_sources(table),
        "smaller side of the image": _band(side, _SIDES),
    }
    subgroups = []
    for by, names in grouped.items():
        for name, rows in table.groupby(names, observed=True):
            subgroups.append(_measure_subgroup(by, str(name), rows))
    return subgroups


def _name_sources(table: pd.DataFrame) -> pd.Series:
    """Name the source of each image, and the kind of photo where a source has several kinds."""
    kinds = table.groupby("source")["modality"].transform("nunique")
    named = table["source"] + ", " + table["modality"].replace("", UNKNOWN)
    return table["source"].where(kinds == 1, named)


def _band(values: pd.Series, bands: dict[str, int]) -> pd.Series:
    named = pd.cut(values, [*bands.values(), np.inf], right=False, labels=list(bands))
    return named.cat.add_categories(UNKNOWN).fillna(UNKNOWN)


def _measure_subgroup(by: str, name: str, rows: pd.DataFrame) -> Subgroup:
    target, group, called = rows["target"], rows["group"], rows["called"]
    positives = int(target.sum())
    many, others = positives >= _FEWEST, len(rows) - positives >= _FEWEST
    return Subgroup(
        by=by,
        name=name,
        images=len(rows),
        positives=positives,
        auc=auc(target, rows["probability"], group) if many and others else None,
        sensitivity=sensitivity(target, called, group) if many else None,
        specificity=specificity(target, called, group) if others else None,
        refused=_measure_refusals(rows) if len(rows) >= _FEWEST else None,
    )
