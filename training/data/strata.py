"""Which images an epoch shows, and how often: all of them once, or a balanced draw of strata."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import TrainingError

COLUMNS = ("source", "modality", "target", "diagnosis", "skin_tone", "sex", "anatom_site")
REST = "all others"


class Stratum(NamedTuple):
    """Images that a draw treats alike."""

    name: str
    rows: NDArray[np.int64]  # positions in the table of cases, (N,)
    drawn: int  # images that an epoch shows


class Draw(NamedTuple):
    """How often each epoch shows each row of a table of cases."""

    cases: int  # rows of the table
    strata: tuple[Stratum, ...]
    seed: int

    @property
    def images(self) -> int:
        """The number of images that an epoch shows."""
        return sum(stratum.drawn for stratum in self.strata)

    def count_shown(self, epoch: int) -> NDArray[np.int64]:
        """Count how often an epoch, 0 or more, shows each row (cases,).

        Each stratum is gone through in one random order after another, so that no image is shown
        again before all others of its stratum were.
        """
        counts = np.zeros(self.cases, np.int64)
        for number, stratum in enumerate(self.strata):
            first, images = epoch * stratum.drawn, len(stratum.rows)
            while first < (epoch + 1) * stratum.drawn:
                turn, position = divmod(first, images)
                shown = min(images - position, (epoch + 1) * stratum.drawn - first)
                order = np.random.default_rng([self.seed, number, turn]).permutation(images)
                counts[stratum.rows[order[position : position + shown]]] += 1
                first += shown
        return counts

    def count_classes(self, target: NDArray[np.integer]) -> tuple[int, int]:
        """Count the positive and negative images of the first epoch; `target` is (cases,)."""
        counts = self.count_shown(0)
        positives = int(counts[target == 1].sum())
        return positives, int(counts.sum()) - positives


def draw_all(cases: pd.DataFrame, positives_repeated: int = 1) -> Draw:
    """Show each image once in each epoch, and each positive one `positives_repeated` times."""
    target = cases["target"].to_numpy()
    strata = []
    for value, times in ((0, 1), (1, positives_repeated)):
        rows = np.flatnonzero(target == value)
        if len(rows):
            strata.append(Stratum(f"target:{value}", rows, times * len(rows)))
    return Draw(len(cases), tuple(strata), seed=0)


def draw_balanced(
    cases: pd.DataFrame, balance: Sequence[str], images: int | None, seed: int
) -> Draw:
    """Show `images` images in each epoch, of which each stratum makes up the asked share.

    Args:
        balance: texts COLUMN:VALUE[,COLUMN:VALUE...]=SHARE, such as source:milk10k,target:1=0.2. An
            image belongs to the first stratum that it fits; those that fit none share what is left
            in proportion to their number.
        images: None: as many as there are cases.

    Raises:
        TrainingError: a text cannot be parsed, a stratum has no image, or the shares do not add up.
    """
    left = np.ones(len(cases), bool)
    members, shares = [], []
    for text in balance:
        conditions, share = _parse(text)
        fits = np.ones(len(cases), bool)
        for column, value in conditions:
            values = cases[column].astype(str)
            if not (values == value).any():
                there = ", ".join(each or "(empty)" for each in sorted(set(values)))
                raise TrainingError(
                    f"--balance {text}: no training image has {column} {value or '(empty)'}. "
                    f"There are: {there}"
                )
            fits &= values.to_numpy() == value
        if not (fits & left).any():
            why = "An earlier --balance takes all of them" if fits.any() else "No image fits both"
            raise TrainingError(f"--balance {text}: no training image is left for it. {why}.")
        members.append(np.flatnonzero(fits & left))
        shares.append(share)
        left &= ~fits
    rest = 1 - sum(shares)
    if rest < -1e-6 or (rest > 1e-6 and not left.any()):
        why = "" if left.any() else ", and no image is left for the rest"
        raise TrainingError(
            f"--balance: the shares add up to {sum(shares):.4g}{why}. Give shares that add up to "
            f"{'at most 1' if left.any() else '1'}."
        )
    names = [text.rpartition("=")[0] for text in balance]
    if left.any() and rest > 1e-6:
        members.append(np.flatnonzero(left))
        shares.append(rest)
        names.append(REST)
    drawn = _share_out(images or len(cases), np.array(shares))
    strata = tuple(
        Stratum(name, rows, n) for name, rows, n in zip(names, members, drawn, strict=True) if n
    )
    return Draw(len(cases), strata, seed)


def describe_draw(draw: Draw, target: NDArray[np.integer]) -> pd.DataFrame:
    """Describe what an epoch shows.

    Returns:
        A row for each stratum: `stratum`, `images` and `positives` that there are, `drawn` in an
        epoch, and `times` that an epoch shows each image on average.
    """
    return pd.DataFrame(
        {
            "stratum": stratum.name,
            "images": len(stratum.rows),
            "positives": int(target[stratum.rows].sum()),
            "drawn": stratum.drawn,
            "times": round(stratum.drawn / len(stratum.rows), 3),
        }
        for stratum in draw.strata
    )


def _parse(text: str) -> tuple[list[tuple[str, str]], float]:
    wanted = f"--balance {text}: give COLUMN:VALUE[,COLUMN:VALUE...]=SHARE, such as target:1=0.3"
    where, equals, share = text.rpartition("=")
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not equals or not 0 < number <= 1:
        raise TrainingError(f"{wanted}; the share is more than 0 and at most 1.")
    conditions = []
    for condition in where.split(","):
        column, colon, value = condition.partition(":")
        if not colon or column not in COLUMNS:
            raise TrainingError(f"{wanted}; columns are {', '.join(COLUMNS)}.")
        conditions.append((column, value))
    return conditions, number


def _share_out(images: int, shares: NDArray[np.floating]) -> NDArray[np.int64]:
    """Round shares that add up to 1 to numbers of images that add up to `images`.

    The largest remainders are rounded up, as seats are allotted by Hamilton's method.
    """
    exact: NDArray[np.floating] = images * shares / shares.sum()
    drawn: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    missing = images - int(drawn.sum())
    drawn[np.argsort(drawn - exact, kind="stable")[:missing]] += 1
    return drawn
