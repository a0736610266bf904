"""The page: its contents, and how numbers and texts are written there."""

import io
from typing import Any

import numpy as np
from babel import Locale
from babel.numbers import format_percent as format_in
from flask import current_app, render_template
from flask_babel import get_locale, gettext
from markdown_it import MarkdownIt
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from app.api import build_data_uri
from app.uploads import FIELD, MAX_IMAGES


def render_page(**context: Any) -> str:
    """The page, with a result or a problem where `context` has one."""
    limits = {"field": FIELD, "max_images": MAX_IMAGES}
    max_bytes: int = current_app.config["MAX_CONTENT_LENGTH"]
    return render_template("index.html", max_bytes=max_bytes, **limits, **context)


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def render_card(markdown: str) -> Markup:
    """A model card as HTML; HTML that it contains is shown, not obeyed."""
    html: str = _MARKDOWN.render(markdown)
    # A corner that heads nothing is no header.
    html = html.replace("<th></th>", "<td></td>")
    # On a narrow screen a table scrolls, which needs the keyboard's focus.
    return Markup(html.replace("<table>", '<table tabindex="0">'))  # nosec B704


def render_line(markdown: str) -> Markup:
    """One line of the API's description as HTML."""
    return Markup(_MARKDOWN.renderInline(markdown))  # nosec B704


def photo_uri(square: NDArray[np.uint8]) -> str:
    """The square that the model saw, as the source of an `<img>`."""
    file = io.BytesIO()
    Image.fromarray(square).save(file, "JPEG", quality=90)
    return build_data_uri("image/jpeg", file.getvalue())


def format_percent(proportion: float) -> str:
    """A probability as people read it: 4.2%, 37%, and never a false 0% or 100%."""
    if proportion < 0.001:
        return gettext("under %(percent)s", percent=_say_percent(0.001, 1))
    if proportion > 0.999:
        return gettext("over %(percent)s", percent=_say_percent(0.999, 1))
    return _say_percent(proportion, int(proportion < 0.0995 or proportion > 0.99))


def _say_percent(proportion: float, decimals: int) -> str:
    locale = get_locale() or Locale("en")
    pattern = locale.percent_formats[None].pattern
    exact = pattern.replace("#,##0", f"#,##0.{'0' * decimals}" if decimals else "#,##0")
    return format_in(proportion, exact, locale)


def of_100(proportion: float) -> int:
    """A proportion in whole people."""
    return round(100 * proportion)


def as_sentence(phrase: str) -> str:
    """A phrase of the manifest, translated where it can be, with a capital and a full stop."""
    said = gettext(phrase)
    return said[:1].upper() + said[1:].removesuffix(".") + "."


FILTERS = {
    "percent": format_percent,
    "of_100": of_100,
    "sentence": as_sentence,
    "line": render_line,
}
