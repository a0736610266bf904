"""Shards that no patient or lesion crosses; a fold is a set of shards."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from training.errors import TrainingError


def assign_shards(cases: pd.DataFrame, shards: int, seed: int) -> NDArray[np.int64]:
    """Shard of each case, 0..shards-1: stratified over `target`, no `group` in two shards.

    Raises:
        TrainingError: fewer positive or negative groups than shards.
    """
    for target, name in ((1, "positive"), (0, "negative")):
        groups = cases.loc[cases["target"] == target, "group"].nunique()
        if groups < shards:
            raise TrainingError(
                f"{shards} shards need at least as many {name} lesions or patients; there are "
                f"{groups}. Give fewer with --shards."
            )
    splitter = StratifiedGroupKFold(shards, shuffle=True, random_state=seed)
    assigned = np.empty(len(cases), np.int64)
    splits = splitter.split(cases, cases["target"], cases["group"])
    for shard, (_, members) in enumerate(splits):
        assigned[members] = shard
    return assigned


def shards_of_fold(fold: int, folds: int, shards: int) -> list[int]:
    """The shards that are held out in `fold`, 0..folds-1.

    Raises:
        TrainingError: `folds` does not divide `shards`.
    """
    if folds < 2 or shards % folds:
        raise TrainingError(
            f"--folds {folds} does not divide the {shards} shards of the data set. "
            f"Possible: {', '.join(str(n) for n in range(2, shards + 1) if shards % n == 0)}"
        )
    return list(range(fold, shards, folds))
