"""The language of the page: the one named in the address, else the one the browser prefers.

To add a language, add a line to `LANGUAGES` and a file of translations (`make translations`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, request
from flask_babel import Babel, get_locale, gettext

LANGUAGES = {"en": "English", "de": "Deutsch", "es": "Español"}
PARAMETER = "lang"
FOLDER = Path(__file__).with_name("translations")


def choose_language() -> str:
    """Choose the language of the request."""
    given = request.args.get(PARAMETER)
    return given if given in LANGUAGES else request.accept_languages.best_match(LANGUAGES) or "en"


def translate(template: str, values: Mapping[str, object]) -> str:
    """Translate a text, and those of its values that are texts, and put the values in."""
    translated = {
        name: gettext(value) if isinstance(value, str) else value for name, value in values.items()
    }
    return gettext(template) % translated


def _keep_language(endpoint: str, values: dict[str, Any]) -> None:
    """Keep a language that the visitor chose in the links; no cookie stores it."""
    if endpoint != "static" and request and (given := request.args.get(PARAMETER)) in LANGUAGES:
        values.setdefault(PARAMETER, given)


def register(app: Flask) -> None:
    """Translate the pages of `app` into each visitor's language."""
    Babel(app, locale_selector=choose_language)  # type: ignore[no-untyped-call]
    app.url_defaults(_keep_language)
    app.jinja_env.globals.update(get_locale=get_locale, languages=LANGUAGES)


def _(text: str) -> str:
    """Mark a text to be translated."""
    return text


# Titles of errors, which the standard library names.
_STATUS_TITLES = (
    _("Bad Request"),
    _("Unauthorized"),
    _("Not Found"),
    _("Method Not Allowed"),
    _("Internal Server Error"),
)
# Texts in the manifests of our models.
_MANIFEST_TEXTS = (
    _("melanoma"),
    _("melanoma, invasive or in situ"),
    _(
        "other skin cancers: basal cell carcinoma, squamous cell carcinoma and actinic keratosis "
        "count as benign here"
    ),
)
