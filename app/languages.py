"""Which language a visitor reads: the one in the address, else what the browser prefers.

A new language is a line in `LANGUAGES` and a file of translations (`make translations`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, request
from flask_babel import Babel, get_locale, gettext

LANGUAGES = {"en": "English", "de": "Deutsch"}
PARAMETER = "lang"
FOLDER = Path(__file__).with_name("translations")


def choose_language() -> str:
    """Of the request."""
    given = request.args.get(PARAMETER)
    return given if given in LANGUAGES else request.accept_languages.best_match(LANGUAGES) or "en"


def translate(template: str, values: Mapping[str, object]) -> str:
    """A text with its values; those of them that are texts are translated, too."""
    said = {
        name: gettext(value) if isinstance(value, str) else value for name, value in values.items()
    }
    return gettext(template) % said


def _keep_language(endpoint: str, values: dict[str, Any]) -> None:
    """Let links go on in a language that was chosen by hand; there is no cookie to keep it."""
    if endpoint != "static" and request and (given := request.args.get(PARAMETER)) in LANGUAGES:
        values.setdefault(PARAMETER, given)


def register(app: Flask) -> None:
    """Let `app` speak each visitor's language."""
    Babel(app, locale_selector=choose_language)  # type: ignore[no-untyped-call]
    app.url_defaults(_keep_language)
    app.jinja_env.globals.update(get_locale=get_locale, languages=LANGUAGES)


def _(text: str) -> str:
    """Mark a text to be translated."""
    return text


# What the manifests of our models say.
_OF_MANIFESTS = (
    _("melanoma"),
    _("melanoma, invasive or in situ"),
    _(
        "other skin cancers: basal cell carcinoma, squamous cell carcinoma and actinic keratosis "
        "count as benign here"
    ),
)
