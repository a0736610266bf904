import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from processing.bundle import FILES, Bundle
from tests.app.fixture_types import MakeBundle, MakeClient, WaitUntil
from tests.forms import HTML

WaitForFailure = Callable[[FlaskClient], None]

JSON = {"Accept": "application/json"}


@pytest.fixture
def wait_for_failure(wait_until: WaitUntil) -> WaitForFailure:
    """A function that waits until the first attempt to load has failed."""
    return lambda client: wait_until(lambda: "cannot be loaded" in client.get("/readyz").text)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_bundle_in_a_folder_is_served(make_client: MakeClient, make_bundle: MakeBundle) -> None:
    bundle = make_bundle(files={"MODEL_CARD.md": b"# Another card\n"})
    client = make_client(model_uri=str(bundle.path))
    assert bundle.manifest.version in client.get("/readyz").text
    assert "Another card" in client.get("/model", headers=HTML).text


def test_a_bundle_of_format_1_is_served(make_client: MakeClient, make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    del manifest["input"]["pixel_path"]
    (bundle.path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 1}))
    client = make_client(model_uri=str(bundle.path))
    answer = client.get("/model", headers=JSON).get_json()
    assert answer["format_version"] == answer["input"]["pixel_path"] == 1


@pytest.mark.fault(
    "a byte of the model flipped on disk",
    "not served, 503 with the reason in the log",
)
@pytest.mark.parametrize("file", FILES)
def test_a_bundle_with_a_flipped_byte_is_not_served(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    caplog: pytest.LogCaptureFixture,
    photo: bytes,
    file: str,
    wait_for_failure: WaitForFailure,
) -> None:
    bundle = make_bundle()
    flip_byte(bundle.path / file)
    client = make_client(ready=False, model_uri=str(bundle.path))
    wait_for_failure(client)
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert int(ready.headers["Retry-After"]) > 0
    assert f"{file} does not match the SHA-256" in caplog.text
    data = {"image": (io.BytesIO(photo), "photo.jpg")}
    answer = client.post("/predict", data=data, headers=JSON)
    assert answer.status_code == 503
    assert answer.get_json()["type"] == "/problems/model-unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/").status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.get("/model", headers=JSON).status_code == 503


def test_a_model_whose_golden_check_fails_is_not_served(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    served: Bundle,
    caplog: pytest.LogCaptureFixture,
    wait_for_failure: WaitForFailure,
) -> None:
    images, probability = served.read_golden()
    golden = io.BytesIO()
    np.savez(golden, images=images, probability=1 - probability)
    bundle = make_bundle(files={"golden.npz": golden.getvalue()})
    client = make_client(ready=False, model_uri=str(bundle.path))
    wait_for_failure(client)
    assert "golden images" in caplog.text


def test_with_the_fallback_the_embedded_model_answers_instead(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    embedded: Bundle,
    caplog: pytest.LogCaptureFixture,
    wait_until: WaitUntil,
) -> None:
    bundle = make_bundle()
    flip_byte(bundle.path / "model.tflite")
    client = make_client(model_uri=str(bundle.path), model_fallback="default")
    wait_until(lambda: "does not match" in caplog.text)
    assert embedded.manifest.version in client.get("/readyz").text


def test_with_the_fallback_the_configured_model_takes_over(
    make_client: MakeClient, make_bundle: MakeBundle, wait_until: WaitUntil
) -> None:
    bundle = make_bundle(files={"MODEL_CARD.md": b"# Another card\n"})
    client = make_client(model_uri=str(bundle.path), model_fallback="default")
    wait_until(lambda: bundle.manifest.version in client.get("/readyz").text)


@pytest.mark.slow
def test_a_model_that_was_mended_is_loaded_without_a_restart(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    wait_for_failure: WaitForFailure,
    wait_until: WaitUntil,
) -> None:
    bundle = make_bundle()
    whole = shutil.copytree(bundle.path, bundle.path.with_name("whole"))
    flip_byte(bundle.path / "MODEL_CARD.md")
    client = make_client(ready=False, model_uri=str(bundle.path))
    wait_for_failure(client)
    shutil.copytree(whole, bundle.path, dirs_exist_ok=True)
    wait_until(lambda: client.get("/readyz").status_code == 200)
