"""What our HTML reports share: the look of their plots, and pages that need no other file."""

import io
import math
from typing import Any, NamedTuple

from etils import epath
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.files import write_whole

# Okabe and Ito's vermilion and blue: told apart whatever the colour vision, and seen on white and
# on black. https://jfly.uni-koeln.de/color/
POSITIVE, OTHER = "#d55e00", "#0072b2"
INK = "#010203"  # stands in the plots for the page's own colour of text, light or dark
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


class Chart(NamedTuple):
    """One plot, and what to see in it."""

    title: str
    note: str
    plot: str  # SVG


def make_figure(lines: int = 0) -> tuple[Figure, Axes]:
    """An empty plot, and room for a legend of some lines below it."""
    rows = math.ceil(lines / LEGEND_COLUMNS)
    figure = Figure(figsize=(_WIDTH, _HEIGHT + rows * _LEGEND_ROW), layout="constrained")
    return figure, figure.subplots()


def render_figure(figure: Figure, title: str) -> str:
    """A figure as an SVG element with its title.

    Call it, and make the figure, within `rc_context(STYLE)`.
    """
    file = io.StringIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata={"Title": title, **without})
    svg = file.getvalue()
    # What precedes the element has no place within HTML.
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def write_page(template: str, out: epath.Path, **values: object) -> None:
    """Fill one of `templates/`, which extends `page.html`, and write it to `out`.

    Raises:
        TrainingError: the disk is full.
    """
    environment = Environment(
        loader=PackageLoader("training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template(template).render(values)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, page)
