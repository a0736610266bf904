"""The split of the table of cases: what each fold is trained on, and what it is scored on."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from etils import epath

from training.data.folder import Data, read_data
from training.data.folds import shards_of_fold
from training.errors import TrainingError
from training.recipe import TrainSettings
from training.train.run import is_finished


class Split(NamedTuple):
    """The rows of the table of cases that one fold is trained on and scored on."""

    fold: int
    training: pd.DataFrame
    scored: pd.DataFrame


def split_folds(settings: TrainSettings, data: Data) -> dict[int, Split]:
    """Split the table of cases for each fold.

    Raises:
        TrainingError: the number of shards is not a multiple of the folds, a source is unknown, a
            fold lacks one of the classes, or the images are smaller than the training size.
    """
    size = data.build.settings.size
    if settings.size > size:
        raise TrainingError(
            f"--size {settings.size} is more than the {size} px of {data.folder}. Build the data "
            f"with --size {settings.size}, or train at {size} px or less."
        )
    cases = data.cases
    named = {"--extra": settings.extra_sources, "--omit": settings.omitted_sources}
    for option, names in named.items():
        if unknown := sorted(set(names) - set(cases["source"])):
            raise TrainingError(
                f"{option} {unknown[0]}: {data.folder} has the sources "
                f"{', '.join(sorted(set(cases['source'])))}."
            )
    cases = cases[~cases["source"].isin(settings.omitted_sources)]
    extra = {*settings.extra_sources, *data.build.settings.extra_sources}
    shards = len(data.shards())
    splits = {}
    for fold in range(settings.folds):
        held_out = cases["shard"].isin(shards_of_fold(fold, settings.folds, shards))
        split = Split(
            fold,
            cases[~held_out],
            cases[held_out & ~cases["source"].isin(extra)],
        )
        _require_both_classes(split)
        splits[fold] = split
    return splits


def _require_both_classes(split: Split) -> None:
    for what, cases in (("training", split.training), ("scored", split.scored)):
        for target, name in ((1, "positive"), (0, "negative")):
            if not (cases["target"] == target).any():
                raise TrainingError(
                    f"Fold {split.fold} has no {name} image among those {what}. Give fewer "
                    "--folds, or change --extra or --omit."
                )


def check_start(
    settings: TrainSettings, data: Data, earlier: TrainSettings, folds: Iterable[int]
) -> None:
    """Check that each fold can start from the same fold of an earlier run.

    Only then has the earlier model seen none of the images that the fold is scored on.

    Raises:
        TrainingError: the earlier run has another backbone or another number of folds, or data
            that are not all in the same folds of `data`; or it has not finished a fold.
    """
    for name in ("backbone", "folds"):
        there, now = getattr(earlier, name), getattr(settings, name)
        if there != now:
            raise TrainingError(
                f"--weights {settings.weights}: {name} {there} there, {now} now. Start from a run "
                "with the same backbone and number of folds: after another split, the model would "
                "have seen images that the fold is scored on."
            )
    if earlier.data_sha256 != settings.data_sha256:
        _require_same_folds(settings, data, earlier)
    for fold in folds:
        if not is_finished(Path(settings.weights), fold):
            raise TrainingError(
                f"--weights {settings.weights} has not finished fold {fold}. Continue it with "
                f"python -m training train --run {settings.weights} --resume."
            )


def _require_same_folds(settings: TrainSettings, data: Data, earlier: TrainSettings) -> None:
    start = f"--weights {settings.weights}"
    before = read_data(epath.Path(earlier.data), shards=False)
    if before.build.cases_sha256 != earlier.data_sha256:
        raise TrainingError(
            f"{start}: {before.folder} is no longer the data set that it was trained on."
        )
    # An image that is no longer listed may have been dropped for a copy, which could be scored.
    now = before.cases["image_name"].map(data.cases.set_index("image_name")["shard"])
    moved = before.cases[now % settings.folds != before.cases["shard"] % settings.folds]
    if len(moved):
        raise TrainingError(
            f"{start} was trained on {before.folder}, of which {len(moved):,} images are in other "
            f"folds of {data.folder} or missing there, first {moved['image_name'].iloc[0]}: the "
            "model would have seen images that a fold is scored on. Build the new data with "
            f"--shards-of {before.folder}."
        )
