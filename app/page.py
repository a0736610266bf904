"""How answers look: as JSON for programs, and as the one page for people."""

import base64
import io
from typing import Any

import numpy as np
from flask import current_app, render_template, request
from markdown_it import MarkdownIt
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from app.answer import Answer
from app.heatmap import draw_heatmap
from app.uploads import FIELD, MAX_IMAGES
from processing.bundle import Manifest

_HTML, _JSON, _PROBLEM = "text/html", "application/json", "application/problem+json"


def wants_json() -> bool:
    """Whether the client prefers JSON; who states no preference gets the page."""
    return request.accept_mimetypes.best_match([_HTML, _JSON, _PROBLEM], _HTML) != _HTML


def render_page(**context: Any) -> str:
    """The page, with a result or a problem where `context` has one."""
    limits = {"field": FIELD, "max_images": MAX_IMAGES}
    max_bytes: int = current_app.config["MAX_CONTENT_LENGTH"]
    return render_template("index.html", max_bytes=max_bytes, **limits, **context)


def describe_answer(answer: Answer, manifest: Manifest) -> dict[str, Any]:
    """What the API says of one photo."""
    heatmap = None if answer.cam is None else draw_heatmap(answer.cam, manifest.input.size)
    return {
        "assessable": answer.assessable,
        "label": answer.label,
        "probability": answer.probability if answer.assessable else None,
        "threshold": manifest.in_force.threshold,
        "heatmap": heatmap and _data_uri("image/png", heatmap),
        "reasons": list(answer.reasons),
    }


def describe_model(manifest: Manifest) -> dict[str, Any]:
    """What the API says of the model that answered."""
    point = manifest.in_force
    return {
        "version": manifest.version,
        "label": manifest.label.model_dump(),
        "threshold": point.threshold,
        "sensitivity": point.sensitivity.model_dump(),
        "specificity": point.specificity.model_dump(),
        "measured_on": point.measured_on,
    }


def render_card(markdown: str) -> Markup:
    """A model card as HTML; HTML that it contains is shown, not obeyed."""
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Markup(html)  # noqa: S704


def photo_uri(square: NDArray[np.uint8]) -> str:
    """The square that the model saw, as the source of an `<img>`."""
    file = io.BytesIO()
    Image.fromarray(square).save(file, "JPEG", quality=90)
    return _data_uri("image/jpeg", file.getvalue())


def format_percent(proportion: float) -> str:
    """A probability as people read it: 4.2%, 37%, and never a false 0% or 100%."""
    percent = 100 * proportion
    if percent < 0.1:
        return "under 0.1%"
    if percent > 99.9:
        return "over 99.9%"
    return f"{percent:.1f}%" if percent < 9.95 or percent > 99 else f"{percent:.0f}%"


def of_100(proportion: float) -> int:
    """A proportion in whole people."""
    return round(100 * proportion)


def as_sentence(phrase: str) -> str:
    """A phrase of the manifest with a capital and a full stop."""
    return phrase[:1].upper() + phrase[1:].removesuffix(".") + "."


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


FILTERS = {"percent": format_percent, "of_100": of_100, "sentence": as_sentence}
