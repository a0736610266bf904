"""Measure how well the target can be predicted without looking at the lesion."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from processing.manifest import Estimate
from training.errors import TrainingError
from training.metrics.intervals import auc

_log = logging.getLogger(__name__)

# `images` is the number of images that the patient or lesion has.
_SHORTCUTS = (
    ("sex", "age_approx", "anatom_site"),
    ("sex", "age_approx", "anatom_site", "width", "height"),
    ("sex", "age_approx", "anatom_site", "width", "height", "images"),
    ("source",),
)
_TEXT = ("sex", "anatom_site", "source", "modality")
_ORIGINS = (("source",), ("modality",))


@dataclass(frozen=True)
class Shortcut:
    """How well boosted trees predict the target from some columns, without the image."""

    columns: tuple[str, ...]
    auc: Estimate


def measure_shortcuts(cases: pd.DataFrame, folds: int) -> list[Shortcut]:
    """Measure the out-of-fold AUC of gradient boosting on columns alone, as a model's is measured.

    Args:
        cases: the table of cases of a data folder.
        folds: number of folds; at most one per shard is used.

    Raises:
        TrainingError: there are too few images, or nothing is known about them.
    """
    return _require_some(_measure(cases, folds, _SHORTCUTS))


def measure_origins(cases: pd.DataFrame, folds: int) -> list[Shortcut]:
    """Measure what the source alone and the kind of photo alone predict; those known to differ.

    A network that tells sources apart by their look reaches this without looking at the lesion.

    Args:
        cases, folds: as for `measure_shortcuts`, but with the images that are trained on only.

    Raises:
        TrainingError: there are too few images.
    """
    return _measure(cases, folds, _ORIGINS)


def count_strata(cases: pd.DataFrame) -> pd.DataFrame:
    """Count images and positives by source and kind of photo: source, modality, images, positives.

    `only` is the target of every image of the source, where all have the same, else missing.
    """
    strata = cases.groupby(["source", "modality"], as_index=False)["target"].agg(
        images="size", positives="sum"
    )
    targets = cases.groupby("source")["target"].agg(["min", "max"])
    only = targets["min"].where(targets["min"] == targets["max"])
    counted: pd.DataFrame = strata.assign(only=strata["source"].map(only))
    return counted


def _measure(
    cases: pd.DataFrame, folds: int, all_wanted: Sequence[tuple[str, ...]]
) -> list[Shortcut]:
    # Like `folds.shards_of_fold`, except that folds may have different numbers of shards.
    fold = cases["shard"] % min(folds, cases["shard"].nunique())
    spread = fold.groupby(cases["target"]).nunique()
    if len(spread) < 2 or spread.min() < 2:
        raise TrainingError("positive and negative images would each have to be in two folds")
    known = _describe(cases, cases)
    shortcuts = []
    for columns in _list_columns(known, all_wanted):
        _log.info("Measuring what %s predict", ", ".join(columns))
        score = _predict_out_of_fold(known[[*columns]], cases["target"], fold)
        shortcuts.append(Shortcut(columns, auc(cases["target"], score, cases["group"])))
    return shortcuts


def carry_shortcuts(training: pd.DataFrame, test: pd.DataFrame) -> list[Shortcut]:
    """Fit gradient boosting to the columns of the training cases, and measure it on a test set.

    That is how a model comes to a test set. Trees that are cross-validated on it have fewer images
    to learn from, and learn what holds on this test set alone.

    Args:
        training, test: tables of cases; the test set has both classes.

    Raises:
        TrainingError: the training cases are of one class, or nothing is known about them.
    """
    if training["target"].nunique() < 2:
        raise TrainingError("all training images are of one class")
    seen, unseen = _describe(training, training), _describe(test, training)
    shortcuts = []
    for columns in _list_columns(seen, _SHORTCUTS):
        _log.info("Measuring what %s predict on a test set", ", ".join(columns))
        trees = _make_trees().fit(seen[[*columns]], training["target"])
        score = trees.predict_proba(unseen[[*columns]])[:, 1]
        shortcuts.append(Shortcut(columns, auc(test["target"], score, test["group"])))
    return _require_some(shortcuts)


def _require_some(shortcuts: list[Shortcut]) -> list[Shortcut]:
    if not shortcuts:
        raise TrainingError("nothing but the images is known")
    return shortcuts


def _describe(cases: pd.DataFrame, fitted: pd.DataFrame) -> pd.DataFrame:
    """Add the number of images, and turn words into the categories of the `fitted` cases."""
    images = cases.groupby("group")["group"].transform("size")
    words = {}
    for column in (column for column in _TEXT if column in cases and column in fitted):
        known = pd.CategoricalDtype(sorted(set(fitted[column])))
        # A word that the fitted cases lack is missing.
        words[column] = cases[column].where(cases[column].isin(known.categories)).astype(known)
    return cases.assign(images=images, **words)


def _list_columns(
    known: pd.DataFrame, all_wanted: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """List the sets of columns to measure, without columns that are constant and add nothing."""
    sets = [tuple(c for c in wanted if known[c].nunique() > 1) for wanted in all_wanted]
    return [columns for columns in dict.fromkeys(sets) if columns]


def _predict_out_of_fold(features: pd.DataFrame, target: pd.Series, fold: pd.Series) -> pd.Series:
    probability = cross_val_predict(
        _make_trees(), features, target, groups=fold, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    return pd.Series(probability[:, 1], features.index)


def _make_trees() -> HistGradientBoostingClassifier:
    # Small trees: scikit-learn's defaults overfit three columns of ISIC 2020 (0.65 against 0.67).
    return HistGradientBoostingClassifier(
        learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
