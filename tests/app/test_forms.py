"""Forms that no browser sends: each gets a plain answer, and none takes memory for it."""

import json
import tracemalloc

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.app.fixture_types import MakeClient

JSON = {"Accept": "application/json"}
MULTIPART = "multipart/form-data; boundary=edge"
END = b"\r\n--edge--\r\n"


def part(headers: bytes, content: bytes = b"x", edge: bytes = b"edge") -> bytes:
    return b"--" + edge + b"\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


FILE = b'Content-Disposition: form-data; name="image"; filename="a.jpg"'
FIELD = b'Content-Disposition: form-data; name="a"'


def send(client: FlaskClient, body: bytes, content_type: str = MULTIPART) -> TestResponse:
    return client.post("/predict", data=body, headers={**JSON, "Content-Type": content_type})


LARGE = 3_000_000
MALFORMED = {
    "endless headers of a part": (b"--edge\r\n" + b"X-A: b\r\n" * (LARGE // 8), 413, "fields"),
    "one endless header": (b"--edge\r\n" + FILE + bytes(LARGE), 413, "fields"),
    "a preamble": (b"x" * LARGE + END, 400, "does not begin"),
    "10,000 parts": (part(FIELD) * 10_000 + b"--edge--\r\n", 413, "100 fields"),
    "a long field": (part(FIELD, b"x" * LARGE) + b"--edge--", 413, "fields"),
    "no name": (part(b"Content-Disposition: form-data") + b"--edge--", 400, "no name"),
    "no disposition": (part(b"Content-Type: text/plain") + b"--edge--", 400, "malformed"),
    "no name, but a file": (
        part(b'Content-Disposition: form-data; filename="a"') + b"--edge--",
        *(400, "no name"),
    ),
    "a photo without a file's name": (
        part(b'Content-Disposition: form-data; name="image"') + b"--edge--",
        *(400, "Choose a photo"),
    ),
    "no end": (part(FILE), 400, "incomplete"),
    "a form in the form": (
        part(b"Content-Type: multipart/mixed; boundary=inner\r\n" + FILE, b"--inner\r\n\r\nx")
        + b"--edge--",
        *(415, "not a JPEG"),
    ),
    "lines that end otherwise": (part(FILE).replace(b"\r\n", b"\n") + b"--edge--", 400, ""),
    "a charset of another alphabet": (
        part(b"Content-Type: text/plain; charset=utf-7\r\n" + FIELD, b"+AGk-") + b"--edge--",
        *(400, "Choose a photo"),
    ),
    "a part that is longer than it says": (
        part(b"Content-Length: 1\r\n" + FILE, b"xx") + b"--edge--",
        *(400, "malformed"),
    ),
}


@pytest.mark.parametrize(("body", "status", "says"), MALFORMED.values(), ids=MALFORMED)
def test_a_form_that_no_browser_sends_is_refused_with_the_reason(
    client: FlaskClient, body: bytes, status: int, says: str
) -> None:
    answer = send(client, body)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert says in answer.get_json()["detail"]


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=" + "e" * 201],
    ids=["none", "long"],
)
def test_a_form_without_a_valid_boundary_is_refused(client: FlaskClient, content_type: str) -> None:
    answer = send(client, part(FILE) + b"--edge--", content_type)
    assert (answer.status_code, "boundary" in answer.get_json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "image/jpeg", "multipart/mixed; boundary=edge", ""],
)
def test_only_multipart_is_read(client: FlaskClient, content_type: str) -> None:
    answer = send(client, b"a=" + bytes(LARGE), content_type)
    assert answer.status_code == 415
    assert answer.get_json()["type"] == "/problems/form-unsupported"
    assert "multipart/form-data" in answer.get_json()["detail"]


@pytest.mark.parametrize("edge", [b"e", b"-" * 75, b"a'()+_,-./:=?"])
def test_any_valid_boundary_will_do(client: FlaskClient, photo: bytes, edge: bytes) -> None:
    body = part(FILE, photo, edge) + b"--" + edge + b"--"
    answer = send(client, body, f'multipart/form-data; boundary="{edge.decode()}"')
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'form-data; name="image"; filename="a \xc3\xa4.jpg"', "a ä.jpg"),
        (b'form-data; name="image"; filename="a \xe4.jpg"', "a \ufffd.jpg"),
        (b"form-data; name=\"image\"; filename*=utf-8''a%20%C3%A4.jpg", "a ä.jpg"),
        (b"form-data; name=image; filename=a.jpg", "a.jpg"),
    ],
)
def test_names_are_read_as_various_programs_write_them(
    client: FlaskClient, photo: bytes, disposition: bytes, name: str
) -> None:
    body = b"ignored\r\n" + part(b"Content-Disposition: " + disposition, photo) + b"--edge--"
    (image,) = send(client, body + b"\r\nignored").get_json()["images"]
    assert image["name"] == name


def test_a_form_may_end_anywhere_in_what_is_read_at_once(make_client: MakeClient) -> None:
    client = make_client(rate_limit="unlimited")
    for size in range(65536 - 150, 65536 - 80):
        answer = send(client, part(FILE, b"x" * size) + b"--edge--\r\n")
        assert answer.status_code == 415, size  # it is read whole, and is no photo


def test_a_refused_form_takes_no_more_memory_than_it_has_bytes(client: FlaskClient) -> None:
    bodies = [body for body, *_ in MALFORMED.values()] + [part(FILE, bytes(LARGE)) + b"--edge--"]
    for body in bodies:
        tracemalloc.start()
        send(client, body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * len(body) + 2_000_000


def test_the_description_names_the_refusals(client: FlaskClient) -> None:
    described = json.dumps(client.get("/openapi.json").get_json()["paths"]["/predict"])
    assert "/problems/form-unsupported" in described
    assert "/problems/form-malformed" in described
