import pytest
from flask.testing import FlaskClient

from tests.app.fixture_types import MakeClient

JSON = {"Accept": "application/json"}


def test_an_unknown_address_is_a_problem_in_json_and_a_page_otherwise(client: FlaskClient) -> None:
    answer = client.get("/nothing", headers=JSON)
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == "about:blank"
    assert answer.get_json()["title"] == "Not Found"
    page = client.get("/nothing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "Not Found" in page.text


def test_a_wrong_method_tells_the_right_one(client: FlaskClient) -> None:
    answer = client.get("/predict", headers=JSON)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_fault_of_ours_shows_nothing_of_it(
    make_client: MakeClient, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(ready=False)

    @client.application.get("/fault")
    def fail() -> str:
        raise RuntimeError("inner secret")

    answer = client.get("/fault", headers={"Accept": accept})
    assert answer.status_code == 500
    assert "our side" in answer.text
    assert "secret" not in answer.text
    assert "inner secret" in caplog.text
