import gzip
import io
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image
from werkzeug.test import TestResponse

from app.factory import create_app
from app.service import EMBEDDED_BUNDLE
from config.settings import Settings
from processing.bundle import Bundle, read_bundle
from processing.decoding.decoder import Decoder
from processing.drawing import draw_lesion, draw_photo
from tests.app.browser import browser as browser
from tests.app.browser import open_page as open_page
from tests.app.fixture_types import MakeBundle, MakeClient, Post, StartServer, WaitUntil
from tests.bundles import repack
from tests.forms import JSON, encode_form
from tests.gunicorn_server import wait

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wait_until() -> WaitUntil:
    """A function that waits until `condition()` is true."""
    return wait


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: Bundle) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("MODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODEL_URI", str(served.path))


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """The process that decodes, for all tests but those that end it."""
    with Decoder() as decoder:
        yield decoder


@pytest.fixture
def make_client(decoder: Decoder) -> Iterator[MakeClient]:
    """A client of a new app; `ready=False` does not wait for its model."""

    services = []

    def make(ready: bool = True, **settings: Any) -> FlaskClient:
        client = create_app(Settings(**settings), decoder).test_client()
        services.append(client.application.extensions["model_in_service"])
        if ready:
            wait(lambda: client.get("/readyz").status_code == 200)
        return client

    yield make
    for service in services:
        service.stop()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()


@pytest.fixture
def post(client: FlaskClient) -> Post:
    """Send files to /predict, by default asking for JSON."""

    def send(*files: bytes, headers: Mapping[str, str] = JSON) -> TestResponse:
        body, given = encode_form(files)
        content_type = given["Content-Type"]
        return client.post("/predict", data=body, headers=headers, content_type=content_type)

    return send


@pytest.fixture(scope="session")
def embedded() -> Bundle:
    return read_bundle(EMBEDDED_BUNDLE)


@pytest.fixture(scope="session")
def served(embedded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The embedded model without its check for lesions, which rejects drawn ones."""
    modalities = {
        kind: evidence.model_copy(update={"outliers": None})
        for kind, evidence in embedded.manifest.modalities.items()
    }
    folder = tmp_path_factory.mktemp("bundles") / "served"
    return repack(embedded, folder, outliers=None, modalities=modalities)


def encode(pixels: NDArray[np.uint8], kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A drawn lesion as a JPEG of a usual size."""
    return encode(draw_photo(1, 640, irregular=True), quality=92)


@pytest.fixture
def photo_file(photo: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo)
    return path


@pytest.fixture(scope="session")
def small_photo() -> bytes:
    """Too small for any model of more than 46 px."""
    return encode(draw_lesion(2, 22))


@pytest.fixture
def make_bundle(served: Bundle, tmp_path: Path) -> MakeBundle:
    """`served` with other files or another description, and right hashes."""

    def make(
        name: str = "bundle", files: Mapping[str, bytes] | None = None, **changes: object
    ) -> Bundle:
        return repack(served, tmp_path / name, files, **changes)

    return make


@pytest.fixture(scope="session")
def server(start_server: StartServer, served: Bundle) -> str:
    """One server for all tests that only ask it."""
    return start_server(MODEL_URI=str(served.path))


@pytest.fixture
def sink() -> Iterator[tuple[str, list[bytes]]]:
    """A Sentry server that keeps what it receives."""
    received = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://key@127.0.0.1:{server.server_port}/1", received
        server.shutdown()
        thread.join()
