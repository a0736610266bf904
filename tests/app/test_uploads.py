import http.client
import io
import os
import socket
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from urllib3 import encode_multipart_formdata
from werkzeug.test import TestResponse

from app.fair_share import Uploads
from app.uploads import shorten_name
from tests.app.fixture_types import MakeClient, Post

JSON = {"Accept": "application/json"}


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pack_form(photo: bytes) -> dict[str, Any]:
    """A form made by hand: for a large one the test client would use a temporary file."""
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return {
        "data": head + photo + b"\r\n--edge--\r\n",
        "headers": {**JSON, "Content-Type": "multipart/form-data; boundary=edge"},
    }


def declare_png(width: int, height: int) -> bytes:
    """A small PNG whose header declares `width` and `height`."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(12_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def animate_gif() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green")]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def animate_webp() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green")]
    return encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("content", "status", "problem", "says"),
    [
        (b"", 400, "image-broken", "empty"),
        (b"This is text, whatever its name.", 415, "image-unsupported", "not a JPEG"),
        (os.urandom(2000), 415, "image-unsupported", "not a JPEG"),
        (animate_gif(), 415, "image-unsupported", "GIF"),
        (animate_webp(), 415, "image-unsupported", "animated"),
        (declare_png(10_000, 10_000), 413, "image-too-large", "megapixels"),
    ],
    ids=["empty", "text", "random", "gif", "animated-webp", "100-megapixels"],
)
def test_a_bad_photo_is_refused_with_its_reason(
    post: Post, content: bytes, status: int, problem: str, says: str
) -> None:
    answer = post(content)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == f"/problems/{problem}"
    assert answer.get_json()["status"] == status
    assert says in answer.get_json()["detail"]
    page = post(content, headers={"Accept": "text/html"})
    assert page.status_code == status
    assert says in page.text


def test_predict_rejects_a_truncated_jpeg(post: Post, photo: bytes) -> None:
    answer = post(photo[: len(photo) // 2])
    assert answer.status_code == 400
    assert answer.get_json()["type"] == "/problems/image-broken"
    assert "incomplete" in answer.get_json()["detail"]


def test_predict_without_a_photo_tells_to_choose_one(client: FlaskClient) -> None:
    empty_form = {"image": ("", b"")}  # what a browser sends for an empty file field
    for fields in ({}, empty_form, {"image": "text"}):
        data, content_type = encode_multipart_formdata(fields)
        answer = client.post("/predict", data=data, headers=JSON, content_type=content_type)
        assert answer.status_code == 400
        assert answer.get_json()["type"] == "/problems/image-missing"
        assert "Choose a photo" in answer.get_json()["detail"]


def test_a_photo_in_another_field_is_told_the_right_one(client: FlaskClient) -> None:
    data = {"file": (io.BytesIO(b"x"), "x.jpg")}
    answer = client.post("/predict", data=data, headers=JSON)
    assert answer.status_code == 400
    assert 'in the field "file". Send it in the field "image".' in answer.get_json()["detail"]


def test_a_form_of_too_many_fields_is_refused(client: FlaskClient) -> None:
    field = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    form = pack_form(b"x")
    answer = client.post("/predict", **form | {"data": 5000 * field + form["data"]})
    assert answer.status_code == 413
    assert "100 fields" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/a.jpg", "a.jpg"),
        ("C:\\fakepath\\a.jpg", "a.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\"'b.jpg", "a\"'b.jpg"),
        ("<script>alert(1)</script>.jpg", "script>.jpg"),
        ("<b>x.jpg", "<b>x.jpg"),
        ("🦆\u202e\x00.jpg", "🦆.jpg"),
        ("n" * 4096, "n" * 99 + "…"),
    ],
)
def test_a_files_name_is_shortened_to_what_can_be_shown(given: str, shown: str) -> None:
    assert shorten_name(given) == shown


def test_a_files_name_is_shown_and_not_obeyed(client: FlaskClient, photo: bytes) -> None:
    def send(headers: dict[str, str]) -> TestResponse:
        data = {"image": (io.BytesIO(photo), "<b>x.jpg")}
        return client.post("/predict", data=data, headers=headers)

    assert send(JSON).get_json()["images"][0]["name"] == "<b>x.jpg"
    page = send({"Accept": "text/html"}).text
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page


@pytest.mark.parametrize("accept", ["image/png", "nonsense", "*/*;q=0"])
def test_an_accept_that_nothing_fits_gets_json(
    client: FlaskClient, photo: bytes, accept: str
) -> None:
    data = {"image": (io.BytesIO(photo), "a.jpg")}
    answer = client.post("/predict", data=data, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"


@pytest.mark.parametrize("size", [(1, 1), (20_000, 40)])
def test_a_photo_of_a_few_pixels_is_too_small(post: Post, size: tuple[int, int]) -> None:
    (image,) = post(encode(Image.new("RGB", size, "tan"), "PNG")).get_json()["images"]
    assert image["reasons"] == ["too_small"]


def test_more_photos_than_allowed_are_refused(post: Post, small_photo: bytes) -> None:
    answer = post(*[small_photo] * 11)
    assert answer.status_code == 400
    assert "11 photos were sent, at most 10" in answer.get_json()["detail"]


def test_an_upload_over_the_limit_is_refused(make_client: MakeClient) -> None:
    client = make_client(max_upload_mb=1)
    answer = client.post("/predict", **pack_form(bytes(1_100_000)))
    assert answer.status_code == 413
    assert answer.get_json()["type"] == "/problems/upload-too-large"
    assert "At most 1 MB" in answer.get_json()["detail"]


def test_who_sends_40_mb_gets_to_read_why_it_was_refused(server: str) -> None:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=30)
    form = "multipart/form-data; boundary=edge"
    connection.request("POST", "/predict", bytes(40_000_000), {**JSON, "Content-Type": form})
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"At most 20 MB" in answer.read()
    connection.close()


@pytest.mark.fault("twenty uploads are aborted", "the next one is answered")
def test_an_upload_that_is_cut_off_harms_nobody(server: str, photo: bytes) -> None:
    form = pack_form(photo)
    host, port = server.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as cut:
            cut.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n"
                b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n" + form["data"][:5000]
            )
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("POST", "/predict", form["data"], form["headers"])
    assert connection.getresponse().status == 200
    connection.close()


def test_uploads_share_a_memory_that_is_given_back(
    client: FlaskClient, post: Post, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(3 * len(photo))  # of which one sender gets half
    monkeypatch.setitem(client.application.extensions, "uploads", uploads)
    for _ in range(3):
        answer = post(photo, photo)
        assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/busy")
        assert int(answer.headers["Retry-After"]) > 0
        assert post(photo).status_code == 200
        assert post(b"no image").status_code == 415
    for address in ("192.0.2.1", "192.0.2.2"):
        uploads.begin(address, int).take(3 * len(photo) // 2)  # nothing is left out


def test_an_upload_is_never_written_to_disk(client: FlaskClient) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    photo = encode(Image.fromarray(noise), "PNG")  # 3 MB; Werkzeug's own way is disk from 500 kB
    written = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                written.append(path)

    sys.addaudithook(watch)  # for good: there is no way to remove a hook
    answer = client.post("/predict", **pack_form(photo))
    watching = False
    assert answer.status_code == 200
    assert written == []


def test_neither_name_nor_content_of_a_photo_is_logged(
    client: FlaskClient, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="app")
    for content in (photo, b"secret-pixels"):
        for more in ({}, {"secret-field": "secret-text"}):
            data = {"image": (io.BytesIO(content), "secret-name.jpg"), **more}
            client.post("/predict", data=data, headers=JSON)
    assert "outcome=" in caplog.text
    assert "status=415" in caplog.text
    assert "wrong-field" in caplog.text
    assert "secret" not in caplog.text
