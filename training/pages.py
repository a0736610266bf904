"""What our HTML reports share: the look of their plots, and pages that need no other file."""

import io
from typing import Any

from etils import epath
from jinja2 import Environment, PackageLoader, StrictUndefined
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
