"""What a request for /predict asks for and does not exist is refused, never ignored."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.languages import LANGUAGES
from tests.forms import HTML, JSON


def send(client: FlaskClient, photo: bytes, path: str = "/predict", **fields: Any) -> TestResponse:
    form = {"image": (io.BytesIO(photo), "a.jpg"), **fields}
    return client.post(path, data=form, headers=JSON)


@pytest.mark.parametrize("name", ["stabilty", "Stability", "stability ", "images", "image[]"])
def test_an_unknown_field_is_refused_by_name(
    client: FlaskClient, small_photo: bytes, name: str
) -> None:
    values: tuple[Any, ...] = ("true", (io.BytesIO(b"true"), "b.txt"))
    for value in values:
        answer = send(client, small_photo, "/predict", **{name: value})
        assert answer.status_code == 400
        assert answer.get_json()["type"] == "/problems/wrong-field"
        assert f'"{name.strip()}"' in answer.get_json()["detail"]
        assert "image, stability" in answer.get_json()["detail"]


@pytest.mark.parametrize("query", ["stability=true", "stabilty", "LANG=de", "lang=de&a=", "=x"])
def test_an_unknown_parameter_is_refused_by_name(
    client: FlaskClient, small_photo: bytes, query: str
) -> None:
    answer = send(client, small_photo, f"/predict?{query}")
    assert answer.status_code == 400
    problem = answer.get_json()
    assert problem["type"] == "/problems/wrong-field"
    assert f'"{query.rpartition("&")[2].partition("=")[0]}"' in problem["detail"].translate(
        {ord("„"): '"', ord("“"): '"'}
    )
    assert "lang" in problem["detail"]
    assert "stability" in problem["detail"]


def test_a_text_for_a_photo_and_a_file_for_a_text_are_refused(
    client: FlaskClient, small_photo: bytes
) -> None:
    form = {"image": ["b.jpg", (io.BytesIO(small_photo), "a.jpg")]}
    answer = client.post("/predict", data=form, headers=JSON)
    assert (answer.status_code, answer.get_json()["type"]) == (400, "/problems/wrong-field")
    answer = send(client, small_photo, stability=(io.BytesIO(b"true"), "b.txt"))
    assert answer.status_code == 400
    assert "must be true or false" in answer.get_json()["detail"]


def test_what_is_known_is_allowed(client: FlaskClient, small_photo: bytes) -> None:
    for language in LANGUAGES:
        path = f"/predict?lang={language}"
        assert send(client, small_photo, path, stability="true").status_code == 200


def test_the_page_tells_it_without_running_what_was_sent(
    client: FlaskClient, small_photo: bytes
) -> None:
    form = {"image": (io.BytesIO(small_photo), "a.jpg"), "<script>": "true"}
    answer = client.post("/predict", data=form, headers=HTML)
    assert answer.status_code == 400
    assert "&lt;script&gt;" in answer.text


def test_the_description_allows_no_other_fields_and_parameters(client: FlaskClient) -> None:
    operation = client.get("/openapi.json").get_json()["paths"]["/predict"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["image", "stability"]
    assert [each["name"] for each in operation["parameters"]] == ["lang"]
    assert "/problems/wrong-field" in operation["description"]
