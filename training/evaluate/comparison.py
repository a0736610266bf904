"""Comparison of runs that differ in loss, schedule and batch size, on exactly the same images."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from processing.bundle import Estimate
from training.errors import TrainingError
from training.files import write_whole
from training.metrics.intervals import Difference, auc, auc_difference
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
    """The result of one combination."""

    combination: Combination
    auc: Estimate  # pooled out of fold, from one view of each image
    difference: Difference | None  # from the reference's AUC; None: it is the reference
    seconds: float  # of training the compared folds

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


def list_combinations(
    losses: Sequence[str], schedules: Sequence[str], batch_sizes: Sequence[int]
) -> list[Combination]:
    """List each combination once; the batch size varies fastest."""
    return [Combination(*each) for each in dict.fromkeys(product(losses, schedules, batch_sizes))]


def compare_runs(
    run: Path, combinations: Sequence[Combination], reference: str, price: float | None = None
) -> Comparison:
    """Compare the trained runs of some combinations on the folds that all of them have finished.

    The intervals of the differences are paired and, by Bonferroni's inequality, wide enough to hold
    together at 95 %: each of m differences has an interval of level 1 - 0.05 / m.

    Args:
        run: the folder that holds a run folder for each combination, by its name.
        combinations: two or more.
        reference: name of the combination with which the others are compared.
        price: of one machine hour.

    Raises:
        TrainingError: a run has no finished fold, no fold is finished in all of them, or a fold's
            images are not the same in all of them.
    """
    settings = {each.name: read_settings(run / each.name) for each in combinations}
    done = {name: read_oof(run / name, each.folds) for name, each in settings.items()}
    finished = {name: set(oof["fold"]) for name, oof in done.items()}
    common = set.intersection(*finished.values())
    folds = sorted(common)
    if not folds:
        raise TrainingError(
            f"{run}: no fold is finished in all runs. Train one in each with --only-fold."
        )
    compared = {name: _select_folds(oof, folds) for name, oof in done.items()}
    there = compared[reference]
    for name, oof in compared.items():
        _require_same_images(run / name, oof, run / reference, there)
    level = 1 - 0.05 / (len(combinations) - 1)
    target, group = there["target"], there["group"]
    rows = []
    for combination in combinations:
        logit = compared[combination.name]["logit"]
        difference = None
        if combination.name != reference:
            difference = auc_difference(target, logit, there["logit"], group, level)
        seconds = _sum_seconds(run / combination.name, folds)
        rows.append(Row(combination, auc(target, logit, group), difference, seconds))
    return Comparison(
        reference=reference,
        rows=rows,
        level=level,
        folds=folds,
        folds_of_all=settings[reference].folds,
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
    seeds = ", ".join(map(str, comparison.seeds))
    sentences = [
        f"{comparison.images:,} images, {comparison.positives:,} of them positive, of "
        f"{comparison.groups:,} patients or lesions; {_name_folds(comparison.folds)} of "
        f"{comparison.folds_of_all}, pooled out-of-fold.",
        f"A difference is the AUC minus that of {comparison.reference} on the same images, with a "
        f"paired bootstrap over patients or lesions. Its interval has a level of "
        f"{100 * comparison.level:.4g} %{together}.",
        "The intervals cover the choice of patients, not the randomness of training: each run was "
        f"trained once (seed {seeds}).",
    ]
    if comparison.ahead:
        ahead = "; ".join(f"{name} {_name_folds(k)}" for name, k in comparison.ahead.items())
        sentences.append(
            f"Only folds that all runs have finished are compared. Finished but left out: {ahead}."
        )
    return sentences


def _name_folds(folds: Sequence[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def make_table(comparison: Comparison) -> list[list[str]]:
    """Render the comparison as cells of text: a header, and a row for each run."""
    table = [["run", "AUC (95 % interval)", "difference (interval)", "verdict", "hours"]]
    for row in comparison.rows:
        difference = render_difference(row.difference) if row.difference else "-"
        area = render_estimate(row.auc)
        table.append([row.combination.name, area, difference, row.verdict, f"{row.hours:.2f}"])
    if comparison.price is not None:
        costs = [f"{row.hours * comparison.price:.2f}" for row in comparison.rows]
        for cells, cost in zip(table, ["cost", *costs], strict=True):
            cells.append(cost)
    return table


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
                "seconds": row.seconds,
                "hours": row.hours,
                **({} if comparison.price is None else {"cost": row.hours * comparison.price}),
            }
        )
    write_whole(out, pd.DataFrame(rows).to_csv(index=False, float_format="%.6f"))
