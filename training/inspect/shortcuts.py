"""Measure how well the target can be predicted without looking at the lesion."""

import logging
from dataclasses import dataclass

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from processing.bundle import Estimate
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
    # Like `folds.shards_of_fold`, except that folds may have different numbers of shards.
    fold = cases["shard"] % min(folds, cases["shard"].nunique())
    spread = fold.groupby(cases["target"]).nunique()
    if len(spread) < 2 or spread.min() < 2:
        raise TrainingError("positive and negative images would each have to be in two folds")
    images = cases.groupby("group")["group"].transform("size")
    text = {column: cases[column].astype("category") for column in ("sex", "anatom_site", "source")}
    known = cases.assign(images=images, **text)
    shortcuts: dict[tuple[str, ...], Shortcut] = {}
    for wanted in _SHORTCUTS:
        columns = tuple(column for column in wanted if known[column].nunique() > 1)
        if columns and columns not in shortcuts:  # constant columns add nothing
            _log.info("Measuring what %s predict", ", ".join(columns))
            score = _predict_out_of_fold(known[[*columns]], cases["target"], fold)
            shortcuts[columns] = Shortcut(columns, auc(cases["target"], score, cases["group"]))
    if not shortcuts:
        raise TrainingError("nothing but the images is known")
    return list(shortcuts.values())


def _predict_out_of_fold(features: pd.DataFrame, target: pd.Series, fold: pd.Series) -> pd.Series:
    # Small trees: scikit-learn's defaults overfit three columns of ISIC 2020 (0.65 against 0.67).
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    probability = cross_val_predict(
        trees, features, target, groups=fold, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    return pd.Series(probability[:, 1], features.index)
