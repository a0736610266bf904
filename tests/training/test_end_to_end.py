"""The whole path on drawn lesions: images, shards, training, bundle, S3, gunicorn, answer."""

import csv
import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from etils import epath
from PIL import Image

from app.heatmap import SIDE
from processing.bundle import GOLDEN_TOLERANCE, read_bundle
from tests.forms import ask, encode_form
from tests.training.archives import SETTINGS
from tests.training.conftest import Exported
from training.__main__ import main
from training.data.batches import decode_records, read_records
from training.data.folder import read_data
from training.evaluate.nonlesions import list_nonlesions


def predict(url: str, photos: list[Path]) -> dict[str, Any]:
    status, answer = ask(url, *encode_form(photo.read_bytes() for photo in photos))
    assert status == 200
    return answer


def classify(*arguments: object) -> list[dict[str, str]]:
    """The rows of `python -m app classify`."""
    table = subprocess.run(
        [sys.executable, "-m", "app", "classify", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return list(csv.DictReader(io.StringIO(table)))


def command(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def by_command(exported: Exported) -> Path:
    assert f"Wrote {exported.report / 'index.html'}" in exported.output
    assert "Pictures without a lesion: " in exported.output
    return exported.bundle.path


@pytest.fixture
def published(by_command: Path, bucket: str) -> tuple[str, Path]:
    uri = f"s3://{bucket}/melanoma"
    output = command("publish", by_command, uri, "--force", "of drawn lesions")
    assert f"{read_bundle(by_command).manifest.version} is current" in output
    return uri, by_command


def test_page_and_command_give_what_keras_gives_on_the_pixels_of_the_shards(
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
    records = next(iter(decode_records(read_records(shards), SETTINGS.size, batch_size=10)))
    models = [keras.models.load_model(whole_run / f"fold{k}" / "model.keras") for k in (0, 1)]
    pixels = records["image"].numpy().astype(np.float32)
    logits = np.mean([model.predict(pixels, verbose=0)[:, 0] for model in models], axis=0)
    calibration = manifest.calibration
    expected = 1 / (1 + np.exp(-calibration.slope * logits - calibration.intercept))

    names = [name.decode() for name in records["image_name"].numpy()]
    photos = [archive / "ISIC_2019_Training_Input" / f"{name}.jpg" for name in names]
    table = classify(*photos, "--model", uri)
    served = np.array([float(row["probability"]) for row in table])
    assert np.abs(served - expected).max() < GOLDEN_TOLERANCE
    assert np.ptp(served) > 10 * GOLDEN_TOLERANCE  # else any constant would pass

    answer = predict(url, photos)
    assert answer["model"]["version"] == manifest.version
    # Drawn lesions of so few pixels may count as blurred; then the page gives no probability.
    assert [image["reasons"] for image in answer["images"]] == [
        row["reasons"].split() for row in table
    ]
    judged = [pair for pair in zip(answer["images"], served, strict=True) if pair[0]["assessable"]]
    assert len(judged) >= 3
    for image, probability in judged:
        assert image["probability"] == pytest.approx(probability, abs=1e-6)
        malignant = image["probability"] >= manifest.in_force.threshold
        assert image["label"] == ("malignant" if malignant else "benign")


def test_the_model_page_shows_the_version_from_s3(
    published: tuple[str, Path], start_server: Callable[..., str]
) -> None:
    uri, folder = published
    url = start_server(MODEL_URI=uri)
    request = urllib.request.Request(f"{url}/model", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["version"] == read_bundle(folder).manifest.version


def test_a_malignant_photo_has_a_heatmap(
    published: tuple[str, Path], archive: Path, start_server: Callable[..., str]
) -> None:
    uri, _ = published
    url = start_server(MODEL_URI=uri)
    photos = sorted((archive / "ISIC_2019_Training_Input").iterdir())[:10]
    image = next(image for image in predict(url, photos)["images"] if image["assessable"])
    with urllib.request.urlopen(image["heatmap"]) as picture:
        assert Image.open(io.BytesIO(picture.read())).size == (SIDE, SIDE)


def test_a_photo_without_a_lesion_gets_no_label_but_is_in_the_table(
    by_command: Path, start_server: Callable[..., str], tmp_path: Path
) -> None:
    text = next(picture for picture in list_nonlesions() if picture.kind == "text")
    text.image.save(tmp_path / "text.png")
    url = start_server(MODEL_URI=str(by_command))
    (image,) = predict(url, [tmp_path / "text.png"])["images"]
    assert image["reasons"] == ["not_a_lesion"]
    assert (image["assessable"], image["label"], image["probability"]) == (False, None, None)
    (row,) = classify(tmp_path / "text.png", "--model", by_command)
    assert (row["verdict"], row["label"], row["reasons"]) == ("", "", "not_a_lesion")
    assert 0 <= float(row["probability"]) <= 1
