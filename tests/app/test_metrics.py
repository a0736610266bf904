import http.client
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from processing.bundle import Bundle
from processing.store.open import open_store
from tests.app.fixture_types import MakeBundle, MakeClient, StartServer, WaitUntil

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-some-length"


def read_metrics(url: str, token: str = TOKEN) -> str:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        content: bytes = answer.read()
        return content.decode()


def value_of(text: str, name: str, **labels: object) -> float:
    """The sum of a metric's lines that have these labels."""
    found = 0.0
    for line in text.splitlines():
        match = re.fullmatch(name + r"(?:{(.*)})? (\S+)", line)
        if match and all(f'{k}="{v}"' in (match[1] or "") for k, v in labels.items()):
            found += float(match[2])
    return found


def send(url: str, photo: bytes) -> tuple[int, Any]:
    form = (
        b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        + photo
        + b"\r\n--edge--\r\n"
    )
    headers = {
        "Content-Type": "multipart/form-data; boundary=edge",
        "Accept": "application/json",
    }
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("POST", "/predict", form, headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_the_counts_are_those_of_all_workers(
    start_server: StartServer, served: Bundle, photo: bytes, small_photo: bytes
) -> None:
    url = start_server(MODEL_URI=str(served.path), WEB_CONCURRENCY="2", METRICS_TOKEN=TOKEN)
    sent = 12
    for _ in range(sent):
        assert send(url, photo)[0] == 200
    (image,) = send(url, small_photo)[1]["images"]
    assert image["label"] is None
    assert send(url, b"no image")[0] == 415
    texts = [read_metrics(url) for _ in range(5)]  # whichever worker answers
    for text in texts:
        assert value_of(text, "melanoma_requests_total", endpoint="main.predict") == sent + 2
        assert value_of(text, "melanoma_requests_total", status="415") == 1
        judged = value_of(text, "melanoma_photos_total", outcome="benign") + value_of(
            text, "melanoma_photos_total", outcome="malignant"
        )
        assert judged == value_of(text, "melanoma_score_count") == sent
        assert value_of(text, "melanoma_photos_total", outcome="too_small") == 1
        assert value_of(text, "melanoma_stage_seconds_count", stage="decode") == sent + 2
        assert value_of(text, "melanoma_places_taken") == 0
        version = served.manifest.version
        assert value_of(text, "melanoma_model_in_service", version=version) == 1


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
def test_without_the_token_nothing_is_told(make_client: MakeClient, token: str) -> None:
    client = make_client(metrics_token=TOKEN)
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "melanoma_" not in answer.text
    right = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "melanoma_requests_total" in right.text


def test_made_up_methods_leave_one_label(make_client: MakeClient) -> None:
    client = make_client(ready=False, metrics_token=TOKEN)
    counts = []
    for methods in ((), ("SENTINELA", "SENTINELB", "HEAD")):
        for method in methods:
            client.open("/", method=method)
        text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
        counts.append(value_of(text, "melanoma_requests_total", method="other"))
    assert counts[1] - counts[0] == 2
    assert "SENTINEL" not in text


def test_where_no_token_is_set_there_are_no_metrics(client: FlaskClient) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer None"}).status_code == 404


def test_the_manifests_scores_are_told_beside_those_in_service(
    make_client: MakeClient, make_bundle: MakeBundle
) -> None:
    bundle = make_bundle(scores=[0.7, 0.2, 0.1, 0.0])
    client = make_client(model_uri=str(bundle.path), metrics_token=TOKEN)
    text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert value_of(text, "melanoma_expected_score_share", le="0.25") == pytest.approx(0.7)
    assert value_of(text, "melanoma_expected_score_share", le="0.5") == pytest.approx(0.9)


def test_a_version_that_is_replaced_is_no_longer_told(
    make_client: MakeClient, make_bundle: MakeBundle, bucket: str, wait_until: WaitUntil
) -> None:
    uri = f"s3://{bucket}/melanoma"
    first, second = (
        make_bundle(name, files={"MODEL_CARD.md": f"# {name}".encode()}) for name in "ab"
    )
    open_store(uri).publish(first.path)
    client = make_client(model_uri=uri, model_refresh_seconds=1, metrics_token=TOKEN)
    open_store(uri).publish(second.path)
    wait_until(lambda: second.manifest.version in client.get("/readyz").text)
    text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    for bundle, in_service in ((first, 0), (second, 1)):
        version = bundle.manifest.version
        assert value_of(text, "melanoma_model_in_service", version=version) == in_service


def test_the_log_can_be_json() -> None:
    script = """
from app.factory import create_app
from config.settings import Settings
client = create_app(Settings(log_format="json", trusted_proxies=1)).test_client()
client.post("/predict", headers={"Accept": "application/json", "X-Request-ID": "0" * 32})
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in finished.stderr.splitlines() if line.startswith("{")]
    (problem,) = [line for line in lines if line.get("event") == "problem"]
    assert problem["fields"]["request"] == "0" * 32
    assert problem["levelname"] == "INFO"
