"""The rows of the table of cases that each fold trains on and is scored on."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from training.data.folder import Data
from training.data.folds import shards_of_fold
from training.errors import TrainingError
from training.recipe import TrainSettings
from training.train.run import OOF, fold_folder


class Split(NamedTuple):
    """The rows of the table of cases that a fold trains on, and those that it is scored on."""

    fold: int
    training: pd.DataFrame
    scored: pd.DataFrame


def split_folds(settings: TrainSettings, data: Data) -> dict[int, Split]:
    """The split of each fold.

    Raises:
        TrainingError: the folds do not divide the shards, a source is not there, a fold has no
            positives or fewer images than a batch, or the data are too small.
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
        if absent := sorted(set(names) - set(cases["source"])):
            raise TrainingError(
                f"{option} {absent[0]}: {data.folder} has the sources "
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
                    "--folds, or other --extra or --omit."
                )


def check_start(settings: TrainSettings, earlier: TrainSettings, folds: Iterable[int]) -> None:
    """Check that each fold can start from its own of an earlier run, which saw no held-out image.

    Raises:
        TrainingError: the run has other data, folds or backbone, or has not finished a fold.
    """
    for name in ("backbone", "data_sha256", "folds"):
        there, now = getattr(earlier, name), getattr(settings, name)
        if there != now:
            raise TrainingError(
                f"--weights {settings.weights}: {name} {there} there, {now} now. Start from a run "
                "of the same backbone, data and number of folds: another split would show a fold "
                "the images that it is scored on."
            )
    for fold in folds:
        if not (fold_folder(Path(settings.weights), fold) / OOF).exists():
            raise TrainingError(
                f"--weights {settings.weights} has not finished fold {fold}. Go on with "
                f"python -m training train --run {settings.weights} --resume."
            )
