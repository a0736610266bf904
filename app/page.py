"""The HTML pages, and how numbers and texts are formatted there."""

import io
from typing import Any

import numpy as np
from babel import Locale
from babel.numbers import format_percent as format_in
from flask import current_app, render_template
from flask_babel import get_locale, gettext
from numpy.typing import NDArray
from PIL import Image

from app.api import build_data_uri
from app.limits import cap_photos
from app.markdown import render_line
from app.service import ModelInService, ModelUnavailableError
from app.trust import describe_test_set, list_records
from app.uploads import FIELD, MAX_IMAGES
from app.verdict import is_stable, is_urgent, place_on_scale
from processing.manifest import Manifest
from processing.refusals import AnimatedImageError


def render_page(*, manifest: Manifest | None = None, **context: Any) -> str:
    """Render the page, with the result or the problem that `context` may contain.

    `manifest` is that of the model that answered; without one, the current model's is used.
    """
    limits = {"field": FIELD, "max_images": cap_photos(MAX_IMAGES)}
    max_bytes: int = current_app.config["MAX_CONTENT_LENGTH"]
    manifest = manifest or _find_manifest()
    animated = str(AnimatedImageError())
    return render_template(
        "index.html",
        max_bytes=max_bytes,
        manifest=manifest,
        animated=animated,
        **limits,
        **context,
    )


def _find_manifest() -> Manifest | None:
    service: ModelInService = current_app.extensions["model_in_service"]
    try:
        return service.classifier.manifest
    except ModelUnavailableError:
        return None


def photo_uri(square: NDArray[np.uint8]) -> str:
    """Encode the square that the model saw as the source of an `<img>`."""
    file = io.BytesIO()
    Image.fromarray(square).save(file, "JPEG", quality=90)
    return build_data_uri("image/jpeg", file.getvalue())


def format_percent(proportion: float) -> str:
    """Format a probability as people read it: 4.2%, 37%, and never a rounded 0% or 100%."""
    if proportion < 0.001:
        return gettext("under %(percent)s", percent=_format_exactly(0.001, 1))
    if proportion > 0.999:
        return gettext("over %(percent)s", percent=_format_exactly(0.999, 1))
    return _format_exactly(proportion, int(proportion < 0.0995 or proportion > 0.99))


def _format_exactly(proportion: float, decimals: int) -> str:
    locale = get_locale() or Locale("en")
    pattern = locale.percent_formats[None].pattern
    exact = pattern.replace("#,##0", f"#,##0.{'0' * decimals}" if decimals else "#,##0")
    return format_in(proportion, exact, locale)


def of_100(proportion: float) -> int:
    """Round a proportion to a number out of 100."""
    return round(100 * proportion)


def translate_phrase(phrase: str) -> str:
    """Translate a phrase of the manifest, if there is a translation.

    Jinja's own `_` would take HTML in it for ours, and a `%` for a placeholder.
    """
    return gettext(phrase) if phrase else ""  # an empty text would be the catalogue's header


def as_sentence(phrase: str) -> str:
    """Turn a phrase of the manifest into a sentence, translated if there is a translation."""
    return capitalise(translate_phrase(phrase)).removesuffix(".") + "."


def capitalise(phrase: str) -> str:
    """Begin a phrase with a capital letter."""
    return phrase[:1].upper() + phrase[1:]


FILTERS = {
    "capital": capitalise,
    "place": place_on_scale,
    "percent": format_percent,
    "of_100": of_100,
    "sentence": as_sentence,
    "test_set": describe_test_set,
    "translated": translate_phrase,
    "line": render_line,
}
GLOBALS = {"list_records": list_records, "is_stable": is_stable, "is_urgent": is_urgent}
