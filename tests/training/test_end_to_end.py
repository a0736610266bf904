"""The whole path on drawn lesions: images, shards, training, bundle, S3, gunicorn, answer."""

import io
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from etils import epath
from PIL import Image

from processing.bundle import GOLDEN_TOLERANCE, read_bundle
from tests.training.archives import SETTINGS
from training.__main__ import main
from training.data import read_data
from training.dataset import make_evaluation_dataset


def predict(url: str, photos: list[bytes]) -> dict[str, list[dict[str, float]]]:
    """POST the photos to /predict and give the JSON answer."""
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = b"".join(head + photo + b"\r\n" for photo in photos) + b"--edge--\r\n"
    headers = {
        "Accept": "application/json",
        "Content-Type": "multipart/form-data; boundary=edge",
    }
    with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", body, headers)) as answer:
        return json.load(answer)


@pytest.fixture
def published(run: Path, bucket: str, tmp_path: Path) -> tuple[str, Path]:
    """The tiny run, exported and published by the commands of the README."""
    uri, bundle = f"s3://{bucket}/melanoma", tmp_path / "tiny.bundle"
    for command in (
        ["export", "--run", str(run), "--out", str(bundle)],
        ["publish", str(bundle), uri],
    ):
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert f"{read_bundle(bundle).manifest.version} is current" in result.output
    return uri, bundle


def test_the_page_answers_what_keras_gives_on_the_pixels_of_the_shards(
    published: tuple[str, Path],
    run: Path,
    data: epath.Path,
    archive: Path,
    start_server: Callable[..., str],
) -> None:
    uri, folder = published
    manifest = read_bundle(folder).manifest
    url = start_server(MODEL_URI=uri)

    shards = read_data(data).shards([0])
    records = next(iter(make_evaluation_dataset(shards, SETTINGS.size, batch_size=10)))
    model = keras.models.load_model(run / "fold0" / "model.keras")
    logits = model.predict(records["image"].numpy().astype(np.float32), verbose=0)[:, 0]
    calibration = manifest.calibration
    expected = 1 / (1 + np.exp(-calibration.slope * logits - calibration.intercept))

    photos = [
        (archive / "ISIC_2019_Training_Input" / f"{name.decode()}.jpg").read_bytes()
        for name in records["image_name"].numpy()
    ]
    answer = predict(url, photos)
    served = np.array([image["probability"] for image in answer["images"]])
    assert answer["model"]["version"] == manifest.version
    assert np.abs(served - expected).max() < GOLDEN_TOLERANCE
    assert np.ptp(expected) > 10 * GOLDEN_TOLERANCE  # else any constant would pass
    for image in answer["images"]:
        malignant = image["probability"] >= manifest.in_force.threshold
        assert image["label"] == ("malignant" if malignant else "benign")


def test_model_tells_the_version_that_came_from_s3(
    published: tuple[str, Path], start_server: Callable[..., str]
) -> None:
    uri, folder = published
    url = start_server(MODEL_URI=uri)
    request = urllib.request.Request(f"{url}/model", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["version"] == read_bundle(folder).manifest.version


def test_a_heatmap_covers_the_square(
    published: tuple[str, Path], archive: Path, start_server: Callable[..., str]
) -> None:
    uri, _ = published
    url = start_server(MODEL_URI=uri)
    photo = (archive / "ISIC_2019_Training_Input" / "DRAWN_0000000.jpg").read_bytes()
    (image,) = predict(url, [photo])["images"]
    with urllib.request.urlopen(image["heatmap"]) as picture:
        assert Image.open(io.BytesIO(picture.read())).size == (SETTINGS.size, SETTINGS.size)
