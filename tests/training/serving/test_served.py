from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from etils import epath

from tests.training.archives import SETTINGS, build_isic2019, write_isic2019
from tests.training.conftest import Exported
from tests.training.kaggle_sets import write_kaggle_set
from training.data.folder import Data, read_data
from training.errors import TrainingError
from training.evaluate.evaluation import evaluate_run
from training.recipe import TrainSettings
from training.serving.served import (
    average_networks,
    read_finished_run,
    read_tests,
    serve_run,
)
from training.train.run import open_run


@pytest.fixture(scope="module")
def other_lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other-lesions")
    return write_isic2019(folder, melanomas=6, nevi=6, first=2000)


def test_a_test_set_that_is_cut_as_the_training_data_is_read(
    other_lesions: Path, read: Data, tmp_path: Path
) -> None:
    build_isic2019(other_lesions, tmp_path / "test", SETTINGS.model_copy(update={"shards": 2}))
    (test,) = read_tests([epath.Path(tmp_path / "test")], read)
    assert len(test.cases) == 12


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 48}, "images of 48 px, but the model takes 64"),
        ({"crop_fraction": 1.0}, "crop_fraction 1.0, but the training data of 0.8"),
        ({"pixel_path": 1}, "pixel_path 1, but the training data of 2"),
        ({"source_crops": {"isic2019": 0.7}}, "squares of isic2019 cut with 0.7, but photos are"),
        ({"target": "malignant"}, "counts malignant as positive, but the training data melanoma"),
    ],
)
def test_a_test_set_that_does_not_fit_the_training_data_is_refused(
    changes: dict[str, Any], complaint: str, other_lesions: Path, read: Data, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"shards": 2} | changes)
    build_isic2019(other_lesions, tmp_path / "test", settings)
    with pytest.raises(TrainingError, match=f"--test {tmp_path}/test .*{complaint}"):
        read_tests([epath.Path(tmp_path / "test")], read)


def test_a_public_test_set_that_shares_pictures_under_other_names_is_refused(
    read: Data, tmp_path: Path
) -> None:
    """Lesion 0 and some others are drawn in both; the public set knows no fingerprints."""
    whole = read.build.settings.model_copy(update={"crop_fraction": 1.0})
    data = read._replace(build=read.build.model_copy(update={"settings": whole}))
    public = epath.Path(write_kaggle_set(tmp_path / "public", 16, SETTINGS.size))
    with pytest.raises(TrainingError, match=r"shares \d+ near-duplicate pictures .*first DRAWN_"):
        read_tests([public], data)
    with pytest.raises(TrainingError, match=r"near-duplicate pictures .*first DRAWNK_"):
        read_tests([rename(public)], read_data(public))


def rename(public: epath.Path) -> epath.Path:
    """The same pictures in a public set with names and patients of its own."""
    other = epath.Path(write_kaggle_set(public.parent / "other", 16, SETTINGS.size, prefix="OTHER"))
    assert not set(read_data(other).cases["image_name"]) & set(
        read_data(public).cases["image_name"]
    )
    return other


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"crop_fraction": 0.6}, "squares of crop_fraction 0.6, but those of .* have 0.8"),
        ({"pixel_path": 1}, "squares of pixel_path 1, but those of .* have 2"),
        ({"crop_fraction": None, "pixel_path": None}, "has not finished fold 0"),  # an old run
    ],
)
def test_a_run_whose_data_are_cut_otherwise_now_is_refused(
    changes: dict[str, Any], complaint: str, train_settings: TrainSettings, tmp_path: Path
) -> None:
    open_run(tmp_path / "run", train_settings.model_copy(update=changes))
    with pytest.raises(TrainingError, match=complaint):
        read_finished_run(tmp_path / "run")


def test_the_averaged_network_has_the_mean_of_weights_and_statistics(whole_run: Path) -> None:
    files = [whole_run / f"fold{k}" / "model.keras" for k in (0, 1)]
    models = [keras.models.load_model(file) for file in files]
    averaged = average_networks(files)
    assert [layer.name for layer in averaged.layers] == [layer.name for layer in models[0].layers]
    differ = 0
    for mean, one, other in zip(averaged.weights, *(m.weights for m in models), strict=True):
        assert mean.path == one.path
        np.testing.assert_allclose(
            mean, (np.array(one) + np.array(other)) / 2, rtol=1e-5, atol=1e-7
        )
        differ += "moving_variance" in mean.path and not np.allclose(mean, one)
    assert differ


@pytest.mark.slow
def test_fewer_folds_make_a_smaller_graph(whole_run: Path, exported: Exported) -> None:
    both, finished = exported.evaluated.served, read_finished_run(whole_run)
    # The mean of one network is that network, and its four locations are equally far from the
    # middle, so that all but the size must come out the same.
    one = serve_run(finished, "float32", 1, folds_served=1, average_weights=True, centre=0.6)
    assert (both.folds, both.weights_averaged, both.centre) == (2, False, None)
    assert (one.folds, one.weights_averaged, one.centre) == (1, True, 0.6)
    assert len(one.model) < 0.6 * len(both.model)
    # Chosen on the networks of all folds.
    assert one.evidence.operating_points == both.evidence.operating_points
    limits = [each.evidence.outliers for each in (one, both)]
    assert limits[0]
    assert limits[1]
    assert limits[0].threshold == pytest.approx(limits[1].threshold, rel=1e-3)
    assert (one.oof["outlier"] == both.oof["outlier"])[both.oof["fold"] == 0].all()


def test_folds_and_averages_that_cannot_be_served_are_refused(whole_run: Path) -> None:
    with pytest.raises(TrainingError, match="--folds-served 3: .* has 2 folds"):
        serve_run(read_finished_run(whole_run), "float32", 1, folds_served=3)
    with pytest.raises(TrainingError, match="--average-weights needs --test"):
        evaluate_run(whole_run, [], average_weights=True)
