"""Markdown as HTML, for the model card and the description of the API."""

from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def render_card(markdown: str) -> Markup:
    """Render a model card as HTML; HTML that it contains is escaped."""
    html: str = _MARKDOWN.render(markdown)
    # An empty corner is not a header.
    html = html.replace("<th></th>", "<td></td>")
    # On a narrow screen a table scrolls; for the keyboard it has to be focusable.
    return Markup(html.replace("<table>", '<table tabindex="0">'))  # nosec B704


def render_line(markdown: str) -> Markup:
    """Render one line of the API's description as HTML."""
    return Markup(_MARKDOWN.renderInline(markdown))  # nosec B704
