import json
import re

import pytest
from flask.testing import FlaskClient

from app.api import Answers, Problem
from tests.app.fixture_types import MakeClient, Post

JSON = {"Accept": "application/json"}


def test_the_answer_is_of_the_described_shape(post: Post, photo: bytes, small_photo: bytes) -> None:
    for answer in (post(photo), post(photo, small_photo, b"no image")):
        assert Answers.model_validate_json(answer.data).images


def test_each_route_is_described(client: FlaskClient) -> None:
    described = client.get("/openapi.json").get_json()["paths"]
    routes = {
        rule.rule for rule in client.application.url_map.iter_rules() if rule.endpoint != "static"
    }
    assert routes - set(described) == {
        *("/", "/docs", "/openapi.json", "/metrics", "/problems/<name>")
    }


def test_each_problem_type_that_is_given_is_described(client: FlaskClient, post: Post) -> None:
    described = json.dumps(client.get("/openapi.json").json)
    answer = post(b"no image")
    assert answer.get_json()["type"] in described


def test_the_names_that_generated_clients_call_by_stay(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    names = {
        path: (method, operation["operationId"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert names == {
        "/predict": ("post", "predict"),
        "/model": ("get", "showModel"),
        "/healthz": ("get", "tellHealth"),
        "/readyz": ("get", "tellReadiness"),
    }


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/problem+json", "json"),
        ("image/avif,image/webp,*/*;q=0.8", "json"),
        ("text/html;q=0, */*", "json"),
        ("text/html;q=0.5, application/json", "json"),
        ("not a type", "json"),
        ("text/html", "html"),
        ("Text/HTML", "html"),
        ("text/html, application/json", "html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
    ],
)
def test_answers_and_errors_are_json_unless_html_is_named(
    post: Post, client: FlaskClient, small_photo: bytes, accept: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    for answer in (
        post(small_photo, headers=headers),
        post(b"no image", headers=headers),
        client.get("/model", headers=headers),
        client.get("/nothing", headers=headers),
        client.get("/predict", headers=headers),
    ):
        assert answer.mimetype
        assert kind in answer.mimetype, answer.status


def test_every_reference_of_the_description_leads_somewhere(client: FlaskClient) -> None:
    api = client.get("/openapi.json").get_json()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(api)):
        place = api
        for step in reference.split("/"):
            place = place[step]


def test_the_docs_show_every_path_and_how_to_call_it(client: FlaskClient) -> None:
    page = client.get("/docs").text
    for path in client.get("/openapi.json").get_json()["paths"]:
        assert path in page
    assert "curl -F image=@photo.jpg" in page
    assert "requests.post(" in page


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/nothing", "/static/style.css"])
def test_every_answer_names_its_request(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


ROUTERS = "8f2a9c2e-1d3b-4c5d-8e9f-0123456789ab"


def test_the_routers_name_for_a_request_is_kept_and_a_visitors_is_not(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(ready=False, trusted_proxies=1)
    caplog.set_level("INFO", "app")
    answer = client.get("/nothing", headers={**JSON, "X-Request-ID": ROUTERS})
    assert answer.headers["X-Request-ID"] == ROUTERS
    assert Problem.model_validate_json(answer.data).request_id == ROUTERS
    assert f"request={ROUTERS}" in caplog.text
    for forged in ("my-name-is-jane", "with space 123", f"{ROUTERS}0", ROUTERS.upper()):
        answer = client.get("/", headers={"X-Request-ID": forged})
        assert answer.headers["X-Request-ID"] != forged


def test_without_a_proxy_no_name_for_a_request_is_taken_over(client: FlaskClient) -> None:
    assert client.get("/", headers={"X-Request-ID": ROUTERS}).headers["X-Request-ID"] != ROUTERS


def test_other_sites_may_not_ask_unless_they_are_named(make_client: MakeClient) -> None:
    origin = {"Origin": "https://example.org"}
    closed = make_client().get("/healthz", headers=origin)
    assert "Access-Control-Allow-Origin" not in closed.headers
    client = make_client(cors_origins="https://example.org, https://example.com")
    answer = client.get("/healthz", headers=origin)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    other = client.get("/healthz", headers={"Origin": "https://example.net"})
    assert "Access-Control-Allow-Origin" not in other.headers
