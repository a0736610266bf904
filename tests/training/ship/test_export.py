from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from etils import epath

from processing.bundle import GOLDEN_TOLERANCE, Bundle, BundleError, read_bundle
from processing.image import read_square
from tests.training.archives import SETTINGS
from training.__main__ import main
from training.errors import TrainingError
from training.evaluate.evaluation import Evaluated
from training.serving.graph import run_litert
from training.ship.export import export


def test_the_graph_gives_what_keras_gives_for_a_file(
    bundle: Bundle, whole_run: Path, archive: Path
) -> None:
    models = [keras.models.load_model(whole_run / f"fold{k}" / "model.keras") for k in (0, 1)]
    calibration = bundle.manifest.calibration
    paths = sorted((archive / "ISIC_2019_Training_Input").iterdir())[::8]
    images = np.stack(
        [
            read_square(
                p.read_bytes(), size=SETTINGS.size, crop_fraction=SETTINGS.crop_fraction
            ).pixels
            for p in paths
        ]
    )
    pixels = images.astype(np.float32)
    logits = np.mean([model.predict(pixels, verbose=0)[:, 0] for model in models], axis=0)
    expected = 1 / (1 + np.exp(-calibration.slope * logits - calibration.intercept))
    served = run_litert(bundle.model_path.read_bytes(), images, len(images))["probability"]
    assert np.abs(served - expected).max() < GOLDEN_TOLERANCE


def test_the_activation_map_averages_to_the_logit(bundle: Bundle) -> None:
    from ai_edge_litert.interpreter import Interpreter

    images, probability = bundle.read_golden()
    serve = Interpreter(model_path=str(bundle.model_path)).get_signature_runner("serve")
    logit = np.log(probability / (1 - probability))
    without_bias = np.array([serve(images=image[None])["cam"].mean() for image in images])
    bias = logit - without_bias
    assert np.ptp(bias) < 0.02 * max(1, np.ptp(without_bias))


def test_golden_probabilities_hold_and_are_not_all_one_value(bundle: Bundle) -> None:
    images, probability = bundle.read_golden()
    served = run_litert(bundle.model_path.read_bytes(), images, len(images))["probability"]
    assert np.abs(served - probability).max() < GOLDEN_TOLERANCE
    assert np.ptp(probability) > 0.05


def test_the_manifest_holds_each_figure_with_its_data_set_and_interval(bundle: Bundle) -> None:
    metrics = {(m.dataset, m.name): m for m in bundle.manifest.metrics}
    test_auc = metrics["test set drawn", "AUC"]
    assert (test_auc.images, test_auc.positives) == (20, 10)
    assert test_auc.estimate.low <= test_auc.estimate.value <= test_auc.estimate.high
    assert bundle.manifest.in_force.name == "sensitivity 0.95"
    assert bundle.manifest.training["folds_averaged"] == 2
    assert sum(bundle.manifest.scores) == pytest.approx(1)


def test_the_card_names_label_limits_figures_and_licence(bundle: Bundle) -> None:
    card = bundle.read_card()
    for phrase in (
        "no diagnosis",
        "melanoma",
        "basal cell carcinoma",
        "AUC",
        "non-commercial",
        "Skin tones are not recorded",
        "2 cross-validation folds",
    ):
        assert phrase in card


def command(run: Path, out: Path, *options: str) -> Result:
    arguments = ["export", "--run", str(run), "--out", str(out), *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_a_test_set_that_shares_a_lesion_with_training_is_refused(
    whole_run: Path, data: epath.Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"shares 39 lesions .*M_1.*--apart-from"):
        command(whole_run, tmp_path / "bundle", "--test", str(data))
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_exists_is_not_overwritten(
    run: Path, evaluated: Evaluated, bundle: Bundle
) -> None:
    with pytest.raises(BundleError, match="exists"):
        command(run, bundle.path)  # nothing is computed first: this run is not finished
    with pytest.raises(BundleError, match="exists"):
        export(evaluated, bundle.path)
    assert read_bundle(bundle.path).manifest == bundle.manifest


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a run folder: config.json"):
        command(tmp_path, tmp_path / "bundle")


def test_a_run_with_a_fold_missing_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finished fold 1 of 2.*--resume"):
        command(run, tmp_path / "bundle")
