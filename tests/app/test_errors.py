import io

import pytest
from flask.testing import FlaskClient

from config.faults import WithoutTexts
from processing.manifest import Label
from tests.app.fixture_types import MakeBundle, MakeClient
from tests.forms import HTML

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
    assert "called with POST. To check a photo" in answer.get_json()["detail"]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_fault_of_ours_shows_nothing_of_it(
    make_client: MakeClient, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(ready=False)
    caplog.handler.setFormatter(WithoutTexts())

    @client.application.get("/fault")
    def fail() -> str:
        secret = "inner secret"
        raise RuntimeError(f"an {secret}")

    answer = client.get("/fault", headers={"Accept": accept})
    assert answer.status_code == 500
    assert "our side" in answer.text
    assert "secret" not in answer.text
    assert answer.headers["Content-Security-Policy"]
    assert f"request={answer.headers['X-Request-ID']} at=fail" in caplog.text
    assert ", in fail" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "an inner" not in caplog.text


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
@pytest.mark.parametrize("path", ["nothing.css", "", "%00", "..%2f..%2fwsgi.py", "a" * 5000])
def test_a_missing_file_is_not_a_fault(client: FlaskClient, accept: str, path: str) -> None:
    assert client.get(f"/static/{path}", headers={"Accept": accept}).status_code == 404


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("disposition", ['filename="a.jpg"', 'name=""; filename="a.jpg"', ""])
def test_a_part_without_a_name_is_no_photo(
    client: FlaskClient, accept: str, disposition: str
) -> None:
    form = f"--edge\r\nContent-Disposition: form-data; {disposition}\r\n\r\nabc\r\n--edge--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=edge", "Accept": accept}
    assert client.post("/predict", data=form.encode(), headers=kind).status_code == 400


@pytest.mark.parametrize(
    "host", ["a" * 64, f"{'a' * 64}.example", "a" * 300, "..", "a..b", "a b", "[:::::]x"]
)
@pytest.mark.parametrize("path", ["/", "/docs", "/predict", "/static/style.css", "/nothing"])
def test_a_host_that_cannot_be_is_refused(client: FlaskClient, host: str, path: str) -> None:
    answer = client.get(path, headers=JSON, environ_overrides={"HTTP_HOST": host})
    assert answer.status_code == 400
    assert "Host" in answer.get_json()["detail"]
    assert answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "[::1]:8000", "a_b.example", "xn--mnchen-3ya.de"]
)
def test_other_hosts_are_served(client: FlaskClient, host: str) -> None:
    assert client.get("/docs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PRI", "PROPFIND", "x", "%s"])
def test_an_odd_method_is_not_allowed(client: FlaskClient, method: str) -> None:
    assert client.open("/predict", method=method).status_code == 405


def test_percent_signs_and_html_in_a_manifest_are_shown_as_they_are(
    make_client: MakeClient, make_bundle: MakeBundle, photo: bytes
) -> None:
    odd = "100 % %s %(x)d <b>bold</b>"
    bundle = make_bundle(label=Label(name=odd, covers=odd, not_covered=""))
    client = make_client(model_uri=str(bundle.path))
    form = {"image": (io.BytesIO(photo), "a.jpg")}
    for answer in (
        client.get("/model", headers=HTML),
        client.post("/predict", data=form, headers=HTML),
    ):
        assert answer.status_code == 200
        assert "100 % %s %(x)d &lt;b&gt;bold&lt;/b&gt;" in answer.text
        assert "<b>" not in answer.text
        assert "Content-Type:" not in answer.text  # of the catalogue
