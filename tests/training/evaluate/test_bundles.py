"""`evaluate --bundle`: a published bundle judged without its run."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from etils import epath

from processing.bundle import MODEL, SIGNATURE, BundleError, read_bundle
from processing.store.open import open_store
from tests.bundles import repack
from tests.training.archives import SETTINGS, build_isic2019, write_isic2019
from tests.training.conftest import Exported
from training.__main__ import main
from training.errors import TrainingError
from training.evaluate.evaluation import evaluate_bundle
from training.evaluate.nonlesions import list_nonlesions
from training.evaluate.report import write_evaluation
from training.serving.published import read_published

DEFAULT = Path(__file__).parents[3] / "app" / "model" / "default"


def evaluate(*arguments: object) -> Result:
    texts = ["evaluate", *(str(each) for each in arguments)]
    return CliRunner().invoke(main, texts, catch_exceptions=False)


def test_a_bundle_in_a_store_has_the_figures_of_its_run(
    exported: Exported, test_set: epath.Path, data: epath.Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    open_store(str(store)).publish(exported.bundle.path)
    measured = evaluate_bundle(str(store), [test_set], data)
    (judgement,) = measured.evaluation.judgements
    of_run = exported.evaluated.evaluation
    assert judgement == of_run.judgements[1]
    assert measured.evaluation.nonlesions == of_run.nonlesions
    assert measured.evaluation.calibrated_prevalence == of_run.calibrated_prevalence
    assert (measured.evaluation.folds, measured.evaluation.precision) == (2, "float32")
    write_evaluation(measured, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Subgroups: test set drawn" in page
    assert "Decision curve" in page
    assert "Out-of-fold" not in page
    assert (tmp_path / "report" / "drawn.csv").exists()


def test_other_training_data_and_shared_lesions_are_refused(
    exported: Exported, data: epath.Path, test_set: epath.Path
) -> None:
    path = exported.bundle.path
    with pytest.raises(TrainingError, match="is not what .* was trained on: cases_sha256"):
        evaluate("--bundle", path, "--test", test_set, "--data", test_set)
    with pytest.raises(TrainingError, match="shares 39 lesions"):
        evaluate("--bundle", path, "--test", data, "--data", data)


def convert_mean_brightness() -> bytes:
    """A graph whose only output is a probability."""
    spec = tf.TensorSpec((None, 224, 224, 3), tf.uint8, name="images")
    brightness = tf.function(
        lambda images: {"probability": tf.reduce_mean(tf.cast(images, tf.float32), (1, 2, 3))},
        input_signature=[spec],
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures={SIGNATURE: brightness})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converted: bytes = converter.convert()
    return converted


def test_a_graph_without_a_needed_output_is_named(tmp_path: Path) -> None:
    repack(read_bundle(DEFAULT), tmp_path / "bundle", {MODEL: convert_mean_brightness()})
    with pytest.raises(BundleError, match=r"has no output 'distance'.*it has probability\."):
        read_published(str(tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 48}, "images of 48 px, but the model takes 224"),
        ({"size": 224, "crop_fraction": 0.8}, "crop_fraction 0.8, but the bundle of 1.0"),
        (
            {"size": 224, "crop_fraction": 1.0},
            "pixel_path 2, but the bundle of 1, .*--size 224 --crop 1 --pixel-path 1",
        ),
        (
            {"size": 224, "crop_fraction": 1.0, "pixel_path": 1, "target": "malignant"},
            "counts malignant as positive, but the bundle melanoma",
        ),
    ],
)
def test_a_test_set_that_does_not_fit_a_bundle_is_refused(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    lesions = write_isic2019(tmp_path / "archive", melanomas=4, nevi=4, first=2000)
    settings = SETTINGS.model_copy(update={"shards": 2} | changes)
    build_isic2019(lesions, tmp_path / "test", settings)
    embedded = read_bundle(DEFAULT)
    path_1 = embedded.manifest.input.model_copy(update={"pixel_path": 1})
    repack(embedded, tmp_path / "bundle", input=path_1)
    with pytest.raises(TrainingError, match=complaint):
        evaluate("--bundle", tmp_path / "bundle", "--test", tmp_path / "test")


@pytest.mark.slow
def test_the_embedded_bundle_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = list_nonlesions()[::20]
    monkeypatch.setattr("training.evaluate.evaluation.list_nonlesions", lambda: pictures)
    lesions = write_isic2019(tmp_path / "archive", melanomas=8, nevi=8, first=2000)
    options = ["--size", "224", "--crop", "1.0", "--pixel-path", "3", "--shards", "2"]
    built = ["build", "--isic2019", str(lesions), *options, "--out", str(tmp_path / "test")]
    CliRunner().invoke(main, built, catch_exceptions=False)
    output = evaluate("--bundle", DEFAULT, "--test", tmp_path / "test").output
    assert re.search(r"test set test: AUC \d.\d{3} \(.*\), 16 images, 8 positive", output)
    assert re.search(r"from probability 0.0\d+ \(dermoscopic\) or 0.0\d+ \(close-up\)", output)
    assert "training data was not checked" in output  # without --data
    assert "Wrote" not in output  # without --out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Give --run or --bundle"),
        (["--run", ".", "--bundle", "."], "Give --run or --bundle"),
        (["--bundle", "."], "--bundle needs --test"),
        (["--bundle", ".", "--test", ".", "--views", "1"], "--views goes with --run"),
        (["--bundle", ".", "--test", ".", "--folds-served", "1"], "--folds-served goes with --run"),
        (["--run", ".", "--data", "."], "--data goes with --bundle"),
    ],
)
def test_options_that_do_not_go_together_are_named(arguments: list[str], complaint: str) -> None:
    result = evaluate(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output
