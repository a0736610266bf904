import shutil
from pathlib import Path

import pytest
from etils import epath

from processing.bundle import Bundle
from tests.training.archives import SETTINGS, build_isic2019, write_isic2019
from tests.training.disks import small_disk as small_disk
from training.data.folder import Data, read_data
from training.evaluate.evaluation import Evaluated, evaluate_run
from training.recipe import Schedule, TrainSettings
from training.ship.export import export
from training.train.cross_validation import cross_validate


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_isic2019(tmp_path_factory.mktemp("isic2019"), melanomas=32, nevi=48)


@pytest.fixture(scope="session")
def data(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    folder = tmp_path_factory.mktemp("built") / "data64"
    build_isic2019(archive, folder)
    return epath.Path(folder)


@pytest.fixture(scope="session")
def read(data: epath.Path) -> Data:
    return read_data(data)


@pytest.fixture(scope="session")
def train_settings(read: Data) -> TrainSettings:
    return TrainSettings(
        data=str(read.folder),
        data_sha256=read.build.cases_sha256,
        crop_fraction=read.build.settings.crop_fraction,
        pixel_path=read.build.settings.pixel_path,
        size=read.build.settings.size,
        backbone="EfficientNetLite0",
        weights="imagenet",
        folds=2,
        epochs=2,
        batch_size=4,
        schedule=Schedule(learning_rate=1e-3),
        seed=0,
    )


@pytest.fixture(scope="session")
def run(
    train_settings: TrainSettings, read: Data, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of which one fold of two is trained: two epochs on 40 drawn lesions."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    cross_validate(train_settings, read, folder, only_folds=[0])
    return folder


@pytest.fixture(scope="session")
def whole_run(
    run: Path, train_settings: TrainSettings, read: Data, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with its other fold trained, too."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("runs") / "whole"))
    cross_validate(train_settings, read, folder, only_folds=[1], resume=True)
    return folder


@pytest.fixture(scope="session")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    """Drawn lesions that are in no training set."""
    folder = tmp_path_factory.mktemp("test-set")
    archive = write_isic2019(folder / "archive", melanomas=10, nevi=10, first=1000)
    settings = SETTINGS.model_copy(update={"shards": 2})
    build_isic2019(archive, folder / "drawn", settings)
    return epath.Path(folder / "drawn")


@pytest.fixture(scope="session")
def evaluated(whole_run: Path, test_set: epath.Path) -> Evaluated:
    return evaluate_run(whole_run, [test_set])


@pytest.fixture(scope="session")
def bundle(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(evaluated, tmp_path_factory.mktemp("bundles") / "tiny")
