"""The whole path on drawn lesions: images, shards, training, bundle, S3, gunicorn, answer."""

import csv
import io
import json
import subprocess
import sys
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
from training.nonlesions import list_nonlesions


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


def command(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def by_command(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, exported by the command of the README."""
    out = tmp_path_factory.mktemp("exported")
    told = command("export", "--run", whole_run, "--out", out / "bundle", "--report", out / "page")
    assert f"Wrote {out / 'page' / 'index.html'}" in told
    assert "Photos of no lesion: " in told
    return out / "bundle"


@pytest.fixture
def published(by_command: Path, bucket: str) -> tuple[str, Path]:
    uri = f"s3://{bucket}/melanoma"
    told = command("publish", by_command, uri)
    assert f"{read_bundle(by_command).manifest.version} is current" in told
    return uri, by_command


def test_the_page_answers_what_keras_gives_on_the_pixels_of_the_shards(
    published: tuple[str, Path],
    whole_run: Path,
    data: epath.Path,
    archive: Path,
    start_server: Callable[..., str],
) -> None:
    uri, folder = published
    manifest = read_bundle(folder).manifest
    url = start_server(MODEL_URI=uri)

    shards = read_data(data).shards([0])
    records = next(iter(make_evaluation_dataset(shards, SETTINGS.size, batch_size=10)))
    models = [keras.models.load_model(whole_run / f"fold{k}" / "model.keras") for k in (0, 1)]
    pixels = records["image"].numpy().astype(np.float32)
    logits = np.mean([model.predict(pixels, verbose=0)[:, 0] for model in models], axis=0)
    calibration = manifest.calibration
    expected = 1 / (1 + np.exp(-calibration.slope * logits - calibration.intercept))

    photos = [
        (archive / "ISIC_2019_Training_Input" / f"{name.decode()}.jpg").read_bytes()
        for name in records["image_name"].numpy()
    ]
    answer = predict(url, photos)
    # One in fifty lesions is taken for none, and then gets no probability.
    judged = [image["assessable"] for image in answer["images"]]
    assert sum(judged) >= 8
    images = [image for image in answer["images"] if image["assessable"]]
    served = np.array([image["probability"] for image in images])
    assert answer["model"]["version"] == manifest.version
    assert np.abs(served - expected[judged]).max() < GOLDEN_TOLERANCE
    assert np.ptp(served) > 10 * GOLDEN_TOLERANCE  # else any constant would pass
    for image in images:
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


def test_a_photo_of_no_lesion_gets_no_label_but_is_in_the_table(
    by_command: Path, start_server: Callable[..., str], tmp_path: Path
) -> None:
    text = next(picture for picture in list_nonlesions() if picture.kind == "text")
    text.image.save(tmp_path / "text.png")
    url = start_server(MODEL_URI=str(by_command))
    (image,) = predict(url, [(tmp_path / "text.png").read_bytes()])["images"]
    assert image["reasons"] == ["not_a_lesion"]
    assert (image["assessable"], image["label"], image["probability"]) == (False, None, None)
    table = subprocess.run(
        [sys.executable, "-m", "app", "classify", tmp_path / "text.png", "--model", by_command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (row,) = csv.DictReader(io.StringIO(table))
    assert (row["label"], row["assessable"], row["reasons"]) == ("", "false", "not_a_lesion")
    assert 0 <= float(row["probability"]) <= 1
