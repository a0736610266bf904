"""A model published to a real S3 server, served by real gunicorn workers."""

import json
import urllib.request

import pytest

from processing.bundle import Bundle
from processing.store.open import open_store
from tests.app.fixture_types import MakeBundle, MakeClient, StartServer, WaitUntil
from tests.conftest import S3Server


def fetch_version(url: str) -> str:
    """The version that /model shows."""
    request = urllib.request.Request(f"{url}/model", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        version: str = json.load(answer)["version"]
        return version


def test_gunicorn_serves_the_version_that_s3_has_in_force(
    start_server: StartServer, bucket: str, make_bundle: MakeBundle
) -> None:
    uri = f"s3://{bucket}/melanoma"
    bundle = make_bundle(files={"MODEL_CARD.md": b"# The published card\n"})
    open_store(uri).publish(bundle.path)
    url = start_server(MODEL_URI=uri, WEB_CONCURRENCY="2")
    versions = [fetch_version(url) for _ in range(20)]  # both workers get to answer
    assert set(versions) == {bundle.manifest.version}


@pytest.mark.fault("the bucket is missing", "the log names it, /readyz is 503")
def test_a_bucket_that_is_not_there_is_named_and_the_app_says_not_ready(
    make_client: MakeClient, wait_until: WaitUntil, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(ready=False, model_uri="s3://no-such-bucket/melanoma")
    wait_until(lambda: "cannot be loaded" in client.get("/readyz").text)
    assert client.get("/readyz").status_code == 503
    assert "does not exist" in caplog.text


@pytest.mark.fault("the bucket is missing, MODEL_FALLBACK=default", "the embedded model answers")
def test_a_model_that_s3_cannot_give_is_replaced_only_where_that_is_wanted(
    make_client: MakeClient,
    wait_until: WaitUntil,
    s3: S3Server,
    embedded: Bundle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = "s3://no-such-bucket/melanoma"
    client = make_client(model_uri=uri, model_fallback="default")
    wait_until(lambda: "does not exist" in caplog.text)
    assert embedded.manifest.version in client.get("/readyz").text
