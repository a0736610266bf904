"""The model in service follows the store: with a real S3 server and its faults."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from processing.bundle import Bundle
from processing.store.base import POINTER
from processing.store.open import open_store
from tests.app.fixture_types import MakeBundle, MakeClient, WaitUntil
from tests.conftest import S3Server
from tests.faulty_proxy import FaultyProxy

JSON = {"Accept": "application/json"}
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def uri(bucket: str) -> str:
    return f"s3://{bucket}/melanoma"


@pytest.fixture
def publish(uri: str, make_bundle: MakeBundle) -> MakeBundle:
    """Publish a bundle with a card of its own, and return it."""

    def do(card: str, **files: bytes) -> Bundle:
        bundle = make_bundle(card, files={"MODEL_CARD.md": f"# {card}\n".encode(), **files})
        open_store(uri).publish(bundle.path)
        return bundle

    return do


@pytest.fixture
def follow(make_client: MakeClient, uri: str) -> MakeClient:
    """A client of an app that asks the store every second or so."""

    def start(**settings: object) -> FlaskClient:
        settings = {"model_refresh_seconds": 1, "rate_limit": "unlimited"} | settings
        return make_client(model_uri=uri, **settings)

    return start


def serves(client: FlaskClient, bundle: Bundle) -> bool:
    return bundle.manifest.version in client.get("/readyz").text


def spoil_golden(bundle: Bundle) -> bytes:
    images, probability = bundle.read_golden()
    golden = io.BytesIO()
    np.savez(golden, images=images, probability=1 - probability)
    return golden.getvalue()


@pytest.mark.fault("publish and rollback under load", "swapped, no request lost")
def test_what_is_published_takes_over_and_no_request_is_lost(
    follow: MakeClient, publish: MakeBundle, uri: str, wait_until: WaitUntil, photo: bytes
) -> None:
    first = publish("first")
    client = follow()
    assert serves(client, first)
    statuses, over = [], threading.Event()

    def ask() -> None:
        while not over.is_set():
            data = {"image": (io.BytesIO(photo), "a.jpg")}
            answer = client.application.test_client().post("/predict", data=data, headers=JSON)
            statuses.append(answer.status_code)

    visitors = [threading.Thread(target=ask) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        second = publish("second")
        wait_until(lambda: serves(client, second))
        open_store(uri).rollback()
        wait_until(lambda: serves(client, first))
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()
    assert len(statuses) > 10
    assert set(statuses) == {200}


@pytest.mark.fault(
    "a new model fails its golden check",
    "the old one stays in service, the new one is not tried again",
)
def test_a_new_model_that_fails_its_golden_check_stays_out_and_is_not_tried_again(
    follow: MakeClient,
    publish: MakeBundle,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    served: Bundle,
) -> None:
    first = publish("first")
    client = follow()
    caplog.set_level("INFO", "app.service")
    bad = publish("bad", **{"golden.npz": spoil_golden(served)})
    wait_until(lambda: "golden images" in caplog.text)
    assert serves(client, first)
    good = publish("good")
    wait_until(lambda: serves(client, good))
    assert caplog.text.count("Model not loaded") == 1
    assert f"{bad.manifest.version} in service" not in caplog.text


@pytest.mark.fault("the pointer names a version that is missing", "the old model stays in service")
def test_a_pointer_to_a_version_that_is_not_there_changes_nothing(
    follow: MakeClient,
    publish: MakeBundle,
    uri: str,
    s3: S3Server,
    bucket: str,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = publish("first")
    client = follow()
    pointer = s3.client.get_object(Bucket=bucket, Key=f"melanoma/{POINTER}")["Body"].read()
    wrong = pointer.replace(first.manifest.version.encode(), b"0" * 64)
    s3.client.put_object(Bucket=bucket, Key=f"melanoma/{POINTER}", Body=wrong)
    wait_until(lambda: "is missing" in caplog.text)
    assert serves(client, first)


@pytest.mark.fault("S3 is away for a while, then back", "the old model serves, then the new one")
def test_a_store_that_is_away_for_a_while_changes_nothing(
    follow: MakeClient,
    publish: MakeBundle,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    uri: str,
) -> None:
    first = publish("first")
    with FaultyProxy(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        client = follow()
        assert serves(client, first)
        proxy.spoil(POINTER, "lose", times=8)
        wait_until(lambda: "cannot be read" in caplog.text)
        assert serves(client, first)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
        second = publish("second")
        wait_until(lambda: serves(client, second))


@pytest.mark.fault("S3 is down at the start, a copy is cached", "the last good model serves")
def test_a_start_without_the_store_goes_on_with_the_last_good_model(
    follow: MakeClient,
    publish: MakeBundle,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    s3: S3Server,
) -> None:
    first = publish("first")
    assert serves(follow(), first)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", DEAD)
    client = follow()
    assert serves(client, first)
    wait_until(lambda: "the last good one, is used from the cache" in caplog.text)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    second = publish("second")
    wait_until(lambda: serves(client, second))


@pytest.mark.fault("S3 is down at the start, no copy", "503 until S3 is back, then serves")
def test_a_start_without_the_store_or_a_copy_waits_for_it(
    follow: MakeClient,
    publish: MakeBundle,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
    s3: S3Server,
) -> None:
    first = publish("first")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", DEAD)
    client = follow(ready=False)
    wait_until(lambda: "cannot be loaded" in client.get("/readyz").text)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    wait_until(lambda: serves(client, first))


def test_the_cache_keeps_the_model_in_service_alone(
    follow: MakeClient, publish: MakeBundle, wait_until: WaitUntil, tmp_path: Path
) -> None:
    publish("first")
    client = follow()
    second = publish("second")
    wait_until(lambda: serves(client, second))
    kept = tmp_path / "cache"
    wait_until(lambda: [f.name for f in kept.glob("?" * 64)] == [second.manifest.version])


@pytest.mark.fault("a note in the cache is empty", "the loader goes on, the note is mended")
def test_an_empty_note_in_the_cache_harms_nothing(
    follow: MakeClient, publish: MakeBundle, wait_until: WaitUntil, tmp_path: Path
) -> None:
    first = publish("first")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "last-good-0123456789abcdef.json").touch()
    client = follow()
    assert serves(client, first)
    second = publish("second")
    wait_until(lambda: serves(client, second))
