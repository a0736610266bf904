from pathlib import Path
from typing import Any

import pytest
from etils import epath

from tests.training.archives import SETTINGS, build_isic2019, write_isic2019
from training.data.folder import Data
from training.errors import TrainingError
from training.recipe import TrainSettings
from training.serving.served import read_finished_run, read_tests
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
