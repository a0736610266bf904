import gzip
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import app

STATIC = Path(app.__file__).parent / "static"
GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.mark.parametrize("name", ["style.css", "js/page.js", "jquery-4.0.0.min.js", "favicon.svg"])
def test_texts_travel_compressed(client: FlaskClient, name: str) -> None:
    with client.get(f"/static/{name}", headers=GZIP) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert int(answer.headers["Content-Length"]) == len(answer.data)
        assert gzip.decompress(answer.data) == (STATIC / name).read_bytes()
        tag = answer.headers["ETag"]
    with client.get(f"/static/{name}", headers={**GZIP, "If-None-Match": tag}) as again:
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("accept", [{}, {"Accept-Encoding": "br"}, {"Accept-Encoding": "gzip;q=0"}])
def test_who_does_not_ask_gets_the_file(client: FlaskClient, accept: dict[str, str]) -> None:
    with client.get("/static/style.css", headers=accept) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.data == (STATIC / "style.css").read_bytes()


def test_pictures_parts_and_answers_stay_as_they_are(client: FlaskClient) -> None:
    for path, headers, status in (
        ("/static/examples/even.jpg", GZIP, 200),
        ("/static/style.css", GZIP | {"Range": "bytes=0-9"}, 206),
        ("/", GZIP, 200),
        ("/static/missing.css", GZIP, 404),
    ):
        with client.get(path, headers=headers) as answer:
            assert answer.status_code == status
            assert "Content-Encoding" not in answer.headers
