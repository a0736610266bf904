"""A client that a generator makes from the API's description can call it."""

import importlib
import io
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from app.examples import FOLDER as EXAMPLES


@pytest.fixture
def client(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package of the client for a running server, generated as its users would."""
    with urllib.request.urlopen(f"{server}/openapi.json") as answer:
        (tmp_path / "openapi.json").write_bytes(answer.read())
    command = Path(sys.executable).with_name("openapi-python-client")
    words = ("--path", "openapi.json", "--output-path", "made_client", "--meta", "none")
    subprocess.run(
        # Complaints about a part of the description that it cannot read are faults.
        [command, "generate", *words, "--fail-on-warning"],
        cwd=tmp_path,
        env={"PATH": str(command.parent)},  # it formats what it made, with ruff
        check=True,
        capture_output=True,
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda module: importlib.import_module(f"made_client.{module}")


def test_a_generated_client_sends_a_photo_and_reads_the_verdict(client: Any, server: str) -> None:
    models, types, predict = client("models"), client("types"), client("api.default.predict")
    photo = types.File(io.BytesIO((EXAMPLES / "ragged.jpg").read_bytes()), "ragged.jpg")
    body = models.PredictBody(image=[photo], stability=models.PredictBodyStability.TRUE)
    nothing = models.PredictBody(image=[types.File(io.BytesIO(b"no photo"), "a.jpg")])
    with client("client").Client(base_url=server) as connection:
        answers = predict.sync(client=connection, body=body)
        problem = predict.sync(client=connection, body=nothing)
        manifest = client("api.default.show_model").sync(client=connection)
        ready = client("api.default.tell_readiness").sync(client=connection)
    (image,) = answers.images
    assert isinstance(image, models.ImageAnswer)
    assert image.verdict == "high"
    assert image.modality == "dermoscopic"
    assert image.stability.low < image.probability < image.stability.high
    promise = answers.model.modalities[image.modality]
    assert promise.threshold == image.threshold
    assert promise.sensitivity.low < promise.sensitivity.value < promise.sensitivity.high
    assert isinstance(problem, models.Problem)
    assert problem.type_ == "/problems/image-unsupported"
    assert manifest.version == answers.model.version
    assert "ready" in ready
