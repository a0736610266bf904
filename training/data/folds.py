"""Assign images to shards so that no patient or lesion is in two; a fold is a set of shards."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from training.data.vocabulary import describe_source
from training.errors import TrainingError

# Groups of 1, 2 to 4, 5 to 19, and more images are separate strata: the number of images that a
# patient has, 2 to 115 in ISIC 2020, says much about the target.
_GROUP_SIZES = (1, 4, 19)


class WatchedSplitter(StratifiedGroupKFold):  # type: ignore[misc]
    """scikit-learn's splitter, which takes some 0.4 ms for a group; reports each as it is done."""

    def __init__(self, shards: int, seed: int, report: Callable[[int], object]) -> None:
        super().__init__(shards, shuffle=True, random_state=seed)
        self._report = report

    def _find_best_fold(self, **counts: NDArray[np.float64]) -> int:
        # The splitter calls this method, a private one of its own, once for each group.
        self._report(1)
        fold: int = super()._find_best_fold(**counts)
        return fold


def assign_shards(
    cases: pd.DataFrame,
    shards: int,
    seed: int,
    extra_sources: Sequence[str] = (),
    earlier: pd.DataFrame | None = None,
) -> NDArray[np.int64]:
    """Assign each case to a shard, 0..shards-1; a `group` is never in two.

    Stratified by `target`, the number of images in the group, `modality`, `skin_tone`, and whether
    the source is an extra one.

    Args:
        extra_sources: those that are never scored: a shard needs images of other sources, too.
        earlier: table of cases of other data in as many shards. The groups of its images stay in
            their shards, and only the others are divided.

    Raises:
        TrainingError: there are fewer positive or negative groups to divide than shards, or a group
            has images in several shards of `earlier`.
    """
    if earlier is not None:
        kept = _find_kept(cases, earlier)
        new = kept.isna().to_numpy()
        if new.any():
            kept[new] = assign_shards(cases[new], shards, seed, extra_sources)
        return kept.to_numpy(np.int64)
    extra = cases["source"].isin(extra_sources)
    for target, name in ((1, "positive"), (0, "negative")):
        groups = cases.loc[(cases["target"] == target) & ~extra, "group"].nunique()
        if groups < shards:
            raise TrainingError(
                f"{shards} shards need at least as many {name} lesions or patients; there are "
                f"{groups}. Give fewer with --shards."
            )
    images = cases.groupby("group")["group"].transform("size")
    kinds = pd.DataFrame(
        {
            "extra": extra,
            "skin_tone": cases["skin_tone"],
            "modality": cases["modality"],
            "size": np.searchsorted(_GROUP_SIZES, images),
            "target": cases["target"],
        }
    )
    # With few images, strata so fine may each have fewer than there are shards.
    for coarser in ("skin_tone", "modality", "size"):
        if kinds.groupby(list(kinds)).size().max() < shards:
            kinds = kinds.drop(columns=coarser)
    strata = kinds.groupby(list(kinds)).ngroup()
    assigned = np.empty(len(cases), np.int64)
    with (
        warnings.catch_warnings(),
        tqdm(
            total=cases["group"].nunique(), desc="Dividing into shards",
            unit=" patients or lesions", delay=2, mininterval=1,
        ) as progress,
    ):  # fmt: skip
        splitter = WatchedSplitter(shards, seed, progress.update)
        # A stratum with fewer images than shards cannot be in all of them, which is fine.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for shard, (_, members) in enumerate(splitter.split(cases, strata, cases["group"])):
            assigned[members] = shard
    return assigned


def _find_kept(cases: pd.DataFrame, earlier: pd.DataFrame) -> pd.Series:
    """Find the shard in which each case's group is in `earlier`; NaN: in none."""
    known = cases["image_name"].map(earlier.set_index("image_name")["shard"])
    by_group = known.groupby(cases["group"])
    torn = by_group.nunique().loc[lambda counts: counts > 1]
    if len(torn):
        raise TrainingError(
            f"--shards-of: {torn.index[0]} has images in {torn.iloc[0]} shards of the earlier data "
            f"({len(torn)} such patients or lesions), because it was not known there that they "
            "belong together. Build without --shards-of."
        )
    return by_group.transform("max")


def require_whole_groups(cases: pd.DataFrame, where: object) -> None:
    """Check that no patient or lesion is in two shards.

    Raises:
        TrainingError: one is, so all figures of cross-validation would be too good.
    """
    shards = cases.groupby("group")["shard"].nunique()
    torn = shards.index[shards > 1]
    if len(torn):
        raise TrainingError(
            f"{where}: {torn[0]} is in {shards[torn[0]]} shards ({len(torn)} such patients or "
            "lesions), which leaks from training into validation. Build the data set again."
        )


def describe_separation(cases: pd.DataFrame) -> str:
    """Say in sentences what no two folds share, and which sources leave open.

    Where patients are not named, nothing keeps the lesions of one of them together.
    """
    by_source = (cases["patient_id"] != "").groupby(cases["source"]).agg("all")
    unknown = [describe_source(str(name)).title for name in by_source.index[~by_source]]
    if not unknown:
        return "No patient or lesion is in two folds."
    alone = (cases["patient_id"] == "") & (cases["lesion_id"] == "")
    sentences = [
        "No lesion is in two folds"
        + (", nor any patient who is named." if by_source.any() else "."),
        f"Patients are not, or not always, named in {' and '.join(unknown)}, so that photos of "
        "different lesions of one person may be in two folds.",
    ]
    if alone.any():
        sentences.append(
            f"{alone.sum():,} images name neither patient nor lesion; each counts as a lesion."
        )
    return " ".join(sentences)


def shards_of_fold(fold: int, folds: int, shards: int) -> list[int]:
    """Return the shards that are held out in `fold`, 0..folds-1.

    Raises:
        TrainingError: `folds` does not divide `shards`.
    """
    if folds < 2 or shards % folds:
        raise TrainingError(
            f"--folds {folds} does not divide the {shards} shards of the data set. "
            f"Possible: {', '.join(str(n) for n in range(2, shards + 1) if shards % n == 0)}"
        )
    return list(range(fold, shards, folds))
