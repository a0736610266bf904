"""Comparison of runs that differ in loss, schedule and batch size, on exactly the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from processing.manifest import Estimate
from training.errors import TrainingError
from training.files import write_table
from training.metrics.intervals import Difference, auc, auc_difference
from training.metrics.ranking import Ranking
from training.text import render_estimate
from training.train.run import HISTORY, fold_folder, read_oof, read_settings

COMPARISON = "comparison.csv"
BETTER, WORSE, NOT_SHOWN, REFERENCE = "better", "worse", "no difference shown", "reference"


class Combination(NamedTuple):
    """The settings in which one run of the comparison differs from the others."""

    loss: str
    schedule: str
    batch_size: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.loss}-{self.schedule}-{self.batch_size}"

    @property
    def settings(self) -> dict[str, Any]:
        """The values that it sets in a recipe."""
        return {
            "loss": {"name": self.loss},
            "schedule": {"name": self.schedule},
            "batch_size": self.batch_size,
        }


class Row(NamedTuple):
    """The result of one combination, as a mean over its seeds."""

    combination: Combination
    auc: Estimate  # pooled out of fold, from one view of each image
    difference: Difference | None  # from the reference's AUC; None: it is the reference
    seconds: float  # of training the compared folds with all seeds
    by_seed: list[float]  # the AUC of each seed's run
    learning_rate: float  # the highest

    @property
    def verdict(self) -> str:
        """What the interval of the difference shows."""
        if self.difference is None:
            return REFERENCE
        if self.difference.low > 0:
            return BETTER
        return WORSE if self.difference.high < 0 else NOT_SHOWN

    @property
    def hours(self) -> float:
        """Hours of training."""
        return self.seconds / 3600


class Comparison(NamedTuple):
    """All rows, and the images that they were compared on."""

    reference: str
    rows: list[Row]
    level: float  # of each difference's interval, so that together they hold at 95 %
    folds: list[int]  # the folds that all runs have finished
    folds_of_all: int  # number of folds, finished or not
    ahead: dict[str, list[int]]  # other folds that a run has finished
    images: int
    positives: int
    groups: int
    seeds: list[int]
    price: float | None  # of one machine hour, in any currency

    @property
    def scaled(self) -> bool:
        """Whether the learning rate was scaled with the batch size."""
        return len({row.learning_rate for row in self.rows}) > 1

    @property
    def deviation(self) -> float:
        """The standard deviation of the AUC over seeds, pooled over the combinations."""
        return float(np.sqrt(np.mean([np.var(row.by_seed, ddof=1) for row in self.rows])))


def list_combinations(
    losses: Sequence[str], schedules: Sequence[str], batch_sizes: Sequence[int]
) -> list[Combination]:
    """List each combination once; the batch size varies fastest."""
    return [Combination(*each) for each in dict.fromkeys(product(losses, schedules, batch_sizes))]


def compare_runs(
    run: Path,
    combinations: Sequence[Combination],
    reference: str,
    price: float | None = None,
    folders: Mapping[str, Sequence[str]] | None = None,
) -> Comparison:
    """Compare the trained runs of some combinations on the folds that all of them have finished.

    The intervals of the differences are paired and, by Bonferroni's inequality, wide enough to hold
    together at 95 %: each of m differences has an interval of level 1 - 0.05 / m.

    Args:
        run: the folder that holds the run folders.
        combinations: two or more.
        reference: name of the combination with which the others are compared.
        price: of one machine hour.
        folders: names of the run folders of each combination, one for each seed, by its name; None:
            one, of the same name.

    Raises:
        TrainingError: a run has no finished fold, no fold is finished in all of them, or a fold's
            images are not the same in all of them.
    """
    folders = folders or {each.name: [each.name] for each in combinations}
    names = [name for each in combinations for name in folders[each.name]]
    settings = {name: read_settings(run / name) for name in names}
    done = {name: read_oof(run / name, each.folds) for name, each in settings.items()}
    finished = {name: set(oof["fold"]) for name, oof in done.items()}
    common = set.intersection(*finished.values())
    folds = sorted(common)
    if not folds:
        raise TrainingError(
            f"{run}: no fold is finished in all runs. Train one in each with --only-fold."
        )
    compared = {name: _select_folds(oof, folds) for name, oof in done.items()}
    first = folders[reference][0]
    there = compared[first]
    for name, oof in compared.items():
        _require_same_images(run / name, oof, run / first, there)
    logits = {
        each.name: np.stack([compared[name]["logit"] for name in folders[each.name]], axis=1)
        for each in combinations
    }
    level = 1 - 0.05 / (len(combinations) - 1)
    target, group = there["target"], there["group"]
    rows = []
    for combination in combinations:
        logit, own = logits[combination.name], folders[combination.name]
        difference = None
        if combination.name != reference:
            difference = auc_difference(target, logit, logits[reference], group, level)
        rows.append(
            Row(
                combination=combination,
                auc=auc(target, logit, group),
                difference=difference,
                seconds=sum(_sum_seconds(run / name, folds) for name in own),
                by_seed=[Ranking(target, each).curve().auc() for each in logit.T],
                learning_rate=settings[own[0]].schedule.learning_rate,
            )
        )
    return Comparison(
        reference=reference,
        rows=rows,
        level=level,
        folds=folds,
        folds_of_all=settings[first].folds,
        ahead={name: sorted(k - common) for name, k in finished.items() if k - common},
        images=len(there),
        positives=int(target.sum()),
        groups=group.nunique(),
        seeds=sorted({each.seed for each in settings.values()}),
        price=price,
    )


def _select_folds(oof: pd.DataFrame, folds: Sequence[int]) -> pd.DataFrame:
    return oof[oof["fold"].isin(folds)].sort_values("image_name", ignore_index=True)


def _require_same_images(run: Path, oof: pd.DataFrame, other: Path, there: pd.DataFrame) -> None:
    columns = ["image_name", "target", "group", "fold"]
    if not oof[columns].equals(there[columns]):
        raise TrainingError(
            f"{run} and {other} were not scored on the same images of the same folds. Train both "
            "on the same data set, with the same --folds, --extra and --omit."
        )


def _sum_seconds(run: Path, folds: Sequence[int]) -> float:
    return sum(float(pd.read_csv(fold_folder(run, k) / HISTORY)["seconds"].sum()) for k in folds)


def describe(comparison: Comparison) -> list[str]:
    """Describe in sentences what was compared and what the intervals mean."""
    count = len(comparison.rows) - 1
    together = f", so that all {count} hold together at 95 % (Bonferroni)" if count > 1 else ""
    sentences = [
        f"{comparison.images:,} images, {comparison.positives:,} of them positive, of "
        f"{comparison.groups:,} patients or lesions; {_name_folds(comparison.folds)} of "
        f"{comparison.folds_of_all}, pooled out-of-fold.",
        f"A difference is the AUC minus that of {comparison.reference} on the same images, with a "
        f"paired bootstrap over patients or lesions. Its interval has a level of "
        f"{100 * comparison.level:.4g} %{together}.",
        "The intervals cover the choice of patients, not the randomness of training: "
        + _describe_seeds(comparison),
    ]
    if comparison.scaled:
        rates = {row.combination.batch_size: row.learning_rate for row in comparison.rows}
        listed = ", ".join(f"{rate:.3g} at batch size {size}" for size, rate in rates.items())
        sentences.append(f"The highest learning rate is in proportion to the batch size: {listed}.")
    if comparison.ahead:
        ahead = "; ".join(f"{name} {_name_folds(k)}" for name, k in comparison.ahead.items())
        sentences.append(
            f"Only folds that all runs have finished are compared. Finished but left out: {ahead}."
        )
    return sentences


def _describe_seeds(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    if len(comparison.seeds) == 1:
        return f"each run was trained once (seed {seeds})."
    return (
        f"each combination was trained with {len(comparison.seeds)} seeds ({seeds}). Its AUC and "
        "difference are means over them, and beside them stand the lowest and the highest AUC of a "
        f"seed. The standard deviation over seeds is {comparison.deviation:.4f}, pooled over the "
        "combinations."
    )


def _name_folds(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def make_table(comparison: Comparison) -> list[list[str]]:
    """Render the comparison as cells of text: a header, and a row for each run."""
    rows = comparison.rows
    columns = [
        ["run", *(row.combination.name for row in rows)],
        ["AUC (95 % interval)", *(render_estimate(row.auc) for row in rows)],
        [
            "difference (interval)",
            *(render_difference(row.difference) if row.difference else "-" for row in rows),
        ],
        ["verdict", *(row.verdict for row in rows)],
    ]
    if len(comparison.seeds) > 1:
        spread = (f"{min(row.by_seed):.3f} to {max(row.by_seed):.3f}" for row in rows)
        columns.append(["AUC by seed", *spread])
    if comparison.scaled:
        columns.append(["learning rate", *(f"{row.learning_rate:.3g}" for row in rows)])
    columns.append(["hours", *(f"{row.hours:.2f}" for row in rows)])
    if comparison.price is not None:
        columns.append(["cost", *(f"{row.hours * comparison.price:.2f}" for row in rows)])
    return [list(cells) for cells in zip(*columns, strict=True)]


def render_difference(difference: Difference) -> str:
    """Render a difference with its interval, all with their signs."""
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write a CSV file with a row for each run; the reference has no difference."""
    rows = []
    for row in comparison.rows:
        difference = asdict(row.difference) if row.difference else {}
        rows.append(
            {
                "run": row.combination.name,
                **row.combination._asdict(),
                "auc": row.auc.value,
                "auc_low": row.auc.low,
                "auc_high": row.auc.high,
                "difference": difference.get("value"),
                "difference_low": difference.get("low"),
                "difference_high": difference.get("high"),
                "verdict": row.verdict,
                "learning_rate": row.learning_rate,
                "seeds": len(row.by_seed),
                "auc_lowest_seed": min(row.by_seed),
                "auc_highest_seed": max(row.by_seed),
                "seconds": row.seconds,
                "hours": row.hours,
                **({} if comparison.price is None else {"cost": row.hours * comparison.price}),
            }
        )
    write_table(out, pd.DataFrame(rows), float_format="%.6f")
