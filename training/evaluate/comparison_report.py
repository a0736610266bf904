"""A comparison of runs as one HTML page: plots of differences and AUCs, and the table."""

from collections.abc import Sequence

from etils import epath
from matplotlib import rc_context
from matplotlib.figure import Figure

from processing.manifest import Estimate
from training.evaluate.comparison import BETTER, WORSE, Comparison, describe, make_table
from training.metrics.intervals import Difference
from training.pages import INK, OTHER, POSITIVE, STYLE, make_figure, render_figure, write_page

_COLOURS = {BETTER: OTHER, WORSE: POSITIVE}  # by verdict; the others have the ink's colour


def write_comparison_page(comparison: Comparison, out: epath.Path) -> None:
    """Write the page: one file, without scripts.

    Raises:
        TrainingError: the disk is full.
    """
    head, *rows = make_table(comparison)
    with rc_context(STYLE):
        plots = {
            f"Difference from {comparison.reference}": _draw(
                comparison, [row.difference for row in comparison.rows], zero=True
            ),
            "AUC": _draw(comparison, [row.auc for row in comparison.rows], seeds=True),
        }
        charts = {title: render_figure(figure, title) for title, figure in plots.items()}
    write_page(
        "comparison.html",
        out,
        reference=comparison.reference,
        sentences=describe(comparison),
        price=comparison.price,
        colours=_COLOURS,
        charts=charts,
        head=head,
        rows=rows,
    )


def _draw(
    comparison: Comparison,
    measured: Sequence[Estimate | Difference | None],
    zero: bool = False,
    seeds: bool = False,
) -> Figure:
    """Draw a dot with its interval for each row, the first one at the top.

    Args:
        measured: of each row; None: it is the reference.
        zero: draw a line at 0.
        seeds: draw a tick for the AUC of each seed, if there are several.
    """
    figure, axes = make_figure(height=0.5 + 0.22 * len(measured))
    for y, (row, each) in enumerate(zip(comparison.rows, measured, strict=True)):
        colour = _COLOURS.get(row.verdict, INK)
        if each is None:  # the reference
            axes.plot(0, y, "D", color=INK, markersize=4)
            continue
        axes.plot([each.low, each.high], [y, y], color=colour, linewidth=1.5)
        axes.plot(each.value, y, "o", color=colour, markersize=5)
        if seeds and len(row.by_seed) > 1:
            axes.plot(row.by_seed, [y] * len(row.by_seed), "|", color=INK, markersize=9)
    if zero:
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(measured)), [row.combination.name for row in comparison.rows])
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=3)  # the names take half of the width
    axes.set_ylim(len(measured) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    return figure
