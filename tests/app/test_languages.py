import io
import re
import subprocess
import sys
from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from app.languages import FOLDER, LANGUAGES
from tests.app.fixture_types import MakeClient
from tests.forms import HTML, JSON, encode_form


def test_the_page_speaks_the_browsers_language(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}).text
    assert '<html lang="de" dir="ltr">' in page
    assert "Das ist keine Diagnose" in page
    spanish = client.get("/", headers={"Accept-Language": "es-MX"}).text
    assert '<html lang="es" dir="ltr">' in spanish
    assert "Esto no es un diagnóstico" in spanish
    assert '<html lang="en" dir="ltr">' in client.get("/", headers={"Accept-Language": "fr"}).text


def test_the_language_in_the_address_goes_first_and_is_kept_by_links(client: FlaskClient) -> None:
    page = client.get("/?lang=de", headers={"Accept-Language": "en"}).text
    assert "Das ist keine Diagnose" in page
    assert 'action="/predict?lang=de"' in page
    assert 'href="/model?lang=de"' in page
    assert "/static/style.css?" not in page
    assert '<html lang="en"' in client.get("/?lang=xx").text


def test_the_answer_is_in_german_with_german_numbers(client: FlaskClient, photo: bytes) -> None:
    data = {"image": (io.BytesIO(photo), "a.jpg")}
    page = client.post("/predict?lang=de", data=data, headers={"Accept": "text/html"}).text
    assert re.search(
        "Sieht verdächtig aus|Melanom lässt sich nicht ausschließen|Niedriger Wert", page
    )
    assert re.search(r"\d+(,\d)?\xa0%", page)
    assert not re.search(r"\d\.\d+%", re.sub(r"<[^>]+>", "", page))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "Die Datei ist leer"), (b"GIF89a", "ein GIF"), (b"x", "kein Foto")],
)
def test_faults_are_told_in_german(client: FlaskClient, content: bytes, says: str) -> None:
    body, headers = encode_form([content])
    answer = client.post("/predict?lang=de", data=body, headers=headers)
    assert says in answer.get_json()["detail"]


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_errors_and_titles_are_translated(client: FlaskClient, language: str) -> None:
    for path in ("/missing", "/model", "/docs"):
        english, other = (
            client.get(f"{path}?lang={name}", headers=HTML).text for name in ("en", language)
        )
        titles = [
            re.findall("<title>(.*?)</title>|<h1>(.*?)</h1>", page) for page in (english, other)
        ]
        assert titles[0]
        assert titles[0] != titles[1]


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
@pytest.mark.parametrize(("path", "status"), [("/predict", 405), ("/metrics", 401), ("/x", 404)])
def test_nothing_english_is_in_an_error(
    make_client: MakeClient, language: str, path: str, status: int
) -> None:
    client = make_client(metrics_token="a-token-of-some-length")
    english, other = (
        client.get(f"{path}?lang={name}", headers=JSON).get_json() for name in ("en", language)
    )
    assert english["status"] == other["status"] == status
    assert english["title"] != other["title"]
    assert english["detail"] != other["detail"]


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_what_the_docs_say_of_their_own_is_translated(client: FlaskClient, language: str) -> None:
    own = re.compile(r"<(h[1-3]|label|button)[^>]*>(.*?)</\1>", re.DOTALL)
    english, other = (
        [found[1] for found in own.findall(client.get(f"/docs?lang={name}").text)]
        for name in ("en", language)
    )
    same = {re.sub("<code>.*?</code>", "", each) for each in english if each in other}
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    assert same - set(schemas) <= {"", "API 1.0.0"}


def read_texts(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {str(each.id): str(each.string) for each in read_po(file) if each.id}


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_each_text_is_translated_with_its_values(language: str) -> None:
    path = FOLDER / language / "LC_MESSAGES" / "messages.po"
    texts = read_texts(path)
    assert len(texts) > 80
    for text, translated in texts.items():
        for pattern in (r"%\(\w+\)[sd]|%%", r"</?\w+>"):
            assert sorted(re.findall(pattern, text)) == sorted(re.findall(pattern, translated))
        assert translated, text


def test_the_translations_are_of_the_texts_in_the_code(tmp_path: Path) -> None:
    texts = tmp_path / "texts.pot"
    babel = Path(sys.executable).with_name("pybabel")
    options = ("-q", "extract", "--omit-header", "-F", "pyproject.toml", "-o")
    subprocess.run([babel, *options, texts, "."], cwd=FOLDER.parents[1], check=True)
    wanted = read_texts(texts)
    for language in set(LANGUAGES) - {"en"}:
        folder = FOLDER / language / "LC_MESSAGES"
        assert read_texts(folder / "messages.po").keys() == wanted.keys(), "run make translations"
        with (folder / "messages.mo").open("rb") as file:
            compiled = GNUTranslations(file)
        for text, translated in read_texts(folder / "messages.po").items():
            assert compiled.gettext(text) == translated, "run make translations"
