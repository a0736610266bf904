"""Show a data folder on one HTML page: counts, some images, and what the build dropped."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from training.data.folder import DROPPED, Data
from training.data.vocabulary import TARGETS
from training.inspect.sheets import AugmentedSheet, make_contact_sheets
from training.pages import (
    INK,
    OTHER,
    POSITIVE,
    STYLE,
    Chart,
    make_figure,
    render_figure,
    write_page,
)

_MISSING = "missing"
_ROWS = 50  # dropped images that are listed for each rule
_SIZES = 15  # photo sizes with a row of their own
_CELL = 100  # pixels of width and height that one dot stands for
_LABEL = 24  # characters of a bar's name


class Breakdown(NamedTuple):
    """The images by one property, as a chart and as a table."""

    chart: Chart
    counts: pd.DataFrame  # one row per category: images, positives, groups, share of positives


def write_report(
    data: Data,
    dropped: pd.DataFrame | None,
    out: epath.Path,
    augmented: AugmentedSheet | None = None,
) -> None:
    """Write the page, which needs no other file and no script.

    Args:
        dropped: as from `read_dropped`; None if the folder has no list.
        augmented: a sheet to add.

    Raises:
        TrainingError: a shard cannot be read, or the disk is full.
    """
    with rc_context(STYLE):
        breakdowns = _make_breakdowns(data)
    write_page(
        "data_report.html",
        out,
        folder=data.folder.resolve(),
        build=data.build,
        target=TARGETS[data.build.settings.target],
        colours={"positive": POSITIVE, "other": OTHER},
        breakdowns=breakdowns,
        sheets=make_contact_sheets(data),
        augmented=augmented,
        dropped=dropped,
        dropped_name=DROPPED,
        shown_rows=_ROWS,
    )


def _make_breakdowns(data: Data) -> list[Breakdown]:
    cases = data.cases
    group_sizes = cases.groupby("group")["group"].transform("size")
    categories = {
        "Diagnosis": _by_count(cases["diagnosis"]),
        "Age in years": _by_range(cases["age_approx"], range(0, 100, 10)),
        "Body site": _by_count(cases["anatom_site"]),
        "Sex": _by_count(cases["sex"]),
        "Source": _by_count(cases["source"]),
        "Images per group": _by_range(group_sizes, (1, 2, 3, 5, 10, 20, 50)),
        **{
            title: _by_count(cases[column])
            for title, column in (("Kind of photo", "modality"), ("Skin tone", "skin_tone"))
            if cases[column].any()  # few sources know them
        },
        "Shard": cases["shard"].map("{:02d}".format),
        "Size of the photo": _by_count(_name_sizes(cases)),
    }
    notes = {
        "Images per group": "A group is a patient, else a lesion, else one image. Where the share "
        "varies, the number of images alone predicts the target.",
        "Skin tone": "From 0, very dark, to 5, very light.",
        "Shard": "A fold consists of whole shards, so all should have nearly the same share.",
        "Size of the photo": "The size of the source photo, before the square was cut. A dot "
        f"stands for all photos within {_CELL} pixels of width and height; its area is their "
        "number. Where the share varies, traces of the size in the picture predict the target.",
    }
    breakdowns = []
    for title, category in categories.items():
        counts = _count(cases, category)
        plot = _draw_sizes(cases) if title == "Size of the photo" else _draw_bars(counts)
        chart = Chart(title, notes.get(title, ""), render_figure(plot, title))
        breakdowns.append(Breakdown(chart, counts))
    return breakdowns


def _by_count(names: pd.Series) -> pd.Series:
    """Turn names into categories, the most frequent first and the missing ones last."""
    names = names.replace("", _MISSING)
    order = sorted(names.value_counts().index, key=_MISSING.__eq__)
    return names.astype(pd.CategoricalDtype(order))


def _by_range(numbers: pd.Series, starts: Sequence[int]) -> pd.Series:
    """Turn numbers into ranges that begin at `starts`."""
    labels = [f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in pairwise(starts)]
    labels.append(f"{starts[-1]} and more")
    ranges = pd.cut(numbers, [*starts, np.inf], right=False, labels=labels)
    return ranges.cat.add_categories(_MISSING).fillna(_MISSING)


def _name_sizes(cases: pd.DataFrame) -> pd.Series:
    names = cases["width"].astype(str) + "x" + cases["height"].astype(str)
    names = names.where(cases["width"] > 0, "")
    frequent = names.value_counts().index[:_SIZES]
    return names.where(names.isin([*frequent, ""]), "other sizes")


def _count(cases: pd.DataFrame, categories: pd.Series) -> pd.DataFrame:
    counts = cases.groupby(categories, observed=True).agg(
        images=("target", "size"), positives=("target", "sum"), groups=("group", "nunique")
    )
    return counts.assign(share=counts["positives"] / counts["images"])


def _draw_bars(counts: pd.DataFrame) -> Figure:
    figure, axes = make_figure(height=0.3 + 0.22 * len(counts))
    rows = range(len(counts))
    others = counts["images"] - counts["positives"]
    axes.barh(rows, counts["positives"], color=POSITIVE)
    bars = axes.barh(rows, others, left=counts["positives"], color=OTHER)
    shares = [f"{row.share:.1%} of {row.images:,}" for row in counts.itertuples()]
    axes.bar_label(bars, shares, padding=3)
    axes.set_yticks(rows, [_shorten(name) for name in counts.index])
    axes.set_xticks([])
    # Tight limits: the layout makes room for the text beside the bars.
    axes.set(xlim=(0, counts["images"].max()), ylim=(len(counts) - 0.4, -0.6))
    axes.spines["bottom"].set_visible(False)
    return figure


def _shorten(name: str) -> str:
    return name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"


def _draw_sizes(cases: pd.DataFrame) -> Figure:
    known = cases[cases["width"] > 0]
    # One dot per cell, not per size: an archive of cropped photos has thousands of sizes.
    dots = known.groupby([known["width"] // _CELL, known["height"] // _CELL]).agg(
        width=("width", "mean"),
        height=("height", "mean"),
        images=("target", "size"),
        share=("target", "mean"),
    )
    figure, axes = make_figure()
    drawn = axes.scatter(
        dots["width"],
        dots["height"],
        s=10 + 400 * dots["images"] / len(known),
        c=dots["share"],
        cmap=LinearSegmentedColormap.from_list("share", [OTHER, POSITIVE], N=16),
        norm=PowerNorm(0.5, 0, 1),  # spreads small shares: 2 % of ISIC 2020 are melanomas
        clip_on=False,
        edgecolors=INK,
        linewidths=0.5,
    )
    axes.set(xlim=0, ylim=0, xlabel="width, pixels", ylabel="height, pixels")
    figure.colorbar(
        drawn, label="share of positives", ticks=[0, 0.02, 0.1, 0.25, 0.5, 1], format="{x:.0%}"
    )
    return figure
