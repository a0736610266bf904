"""What the reports share: templates, the look of plots, and HTML pages that need no other file."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from etils import epath
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from training.files import write_whole

# Vermilion and blue of Okabe and Ito: distinct under every kind of colour vision, and visible on
# white and on black. https://jfly.uni-koeln.de/color/
POSITIVE, OTHER = "#d55e00", "#0072b2"
INK = "#010203"  # a placeholder, replaced by the page's own text colour, light or dark
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "data report",  # the same data give the same page
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}

LEGEND_COLUMNS = 4
_LEGEND_ROW = 0.18  # inches
_WIDTH, _HEIGHT = 3.8, 3.0  # inches of 96 pixels

_TEMPLATES = Environment(
    loader=PackageLoader("training"),
    # The model card is Markdown; whoever renders that escapes its HTML.
    autoescape=select_autoescape(["html"], default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


class Chart(NamedTuple):
    """One plot with its title and a note on how to read it."""

    title: str
    note: str
    plot: str  # SVG


def render_template(template: str, **values: object) -> str:
    """Fill in one of `templates/`."""
    return _TEMPLATES.get_template(template).render(values)


def write_page(template: str, out: epath.Path, **values: object) -> None:
    """Fill in one of `templates/`, which extends `page.html`, and write it to `out`.

    Raises:
        TrainingError: the disk is full.
    """
    page = render_template(template, **values)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, page)


def make_figure(lines: int = 0, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """Make an empty plot with room below it for a legend of `lines` entries.

    Args:
        height: of the plot without the legend, in inches.
    """
    rows = math.ceil(lines / LEGEND_COLUMNS)
    figure = Figure(figsize=(_WIDTH, height + rows * _LEGEND_ROW), layout="constrained")
    return figure, figure.subplots()


def draw_histograms(
    values: pd.Series, target: pd.Series, bins: ArrayLike, label: str
) -> tuple[Figure, Axes]:
    """Draw the distributions of a value among the positives and among the others.

    Args:
        values: (N,) float.
        target: (N,) 0 or 1.
        bins: edges of the bins.
        label: name of the value, for the x axis.
    """
    figure, axes = make_figure(lines=2)
    edges = np.asarray(bins)
    for code, colour, name in ((0, OTHER, "others"), (1, POSITIVE, "positives")):
        members = values[target == code]
        # Shares, not counts: positives of 2 % would be invisible beside the others.
        shares = np.histogram(members, edges)[0] / len(members)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.4)
        axes.stairs(shares, edges, color=colour, linewidth=1.2, label=f"{len(members):,} {name}")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(ylim=0, xlabel=label, ylabel="share of the class")
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False)
    return figure, axes


def render_figure(figure: Figure, title: str) -> str:
    """Render a figure as an SVG element with a title.

    Make the figure and call this within `rc_context(STYLE)`.
    """
    file = io.StringIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata={"Title": title, **without})
    svg = file.getvalue()
    # The XML declaration before the element is not allowed inside HTML.
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
