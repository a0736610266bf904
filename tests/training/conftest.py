import shutil
from pathlib import Path
from typing import Any, NamedTuple

import keras
import pytest
from click.testing import CliRunner
from etils import epath

from benchmarks.fits import count_traces
from processing.bundle import Bundle, read_bundle
from tests.training.archives import SETTINGS, build_isic2019, write_isic2019
from tests.training.disks import small_disk as small_disk
from training.__main__ import main
from training.data.folder import Data, read_data
from training.evaluate.evaluation import Evaluated, evaluate_run
from training.recipe import Schedule, TrainSettings
from training.train import fold
from training.train.checkpoint import State
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


class TracedRun(NamedTuple):
    """A run, and how its training went."""

    run: Path
    traces: list[int]  # of the train function, in each phase


@pytest.fixture(scope="session")
def traced_run(
    train_settings: TrainSettings, read: Data, tmp_path_factory: pytest.TempPathFactory
) -> TracedRun:
    traces = []

    def fit_and_count(
        job: fold.Job, model: keras.Model, state: State | None, phase: fold.Phase
    ) -> State:
        state = fit_phase(job, model, state, phase)
        traces.append(count_traces(model))
        return state

    fit_phase = fold.fit_phase
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "fit_phase", fit_and_count)
        cross_validate(train_settings, read, folder, only_folds=[0])
    return TracedRun(folder, traces)


@pytest.fixture(scope="session")
def run(traced_run: TracedRun) -> Path:
    """A run of which one fold of two is trained: two epochs on 40 drawn lesions."""
    return traced_run.run


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


class Exported(NamedTuple):
    """What the command made of a run, and what it measured."""

    bundle: Bundle
    evaluated: Evaluated
    report: Path
    output: str


@pytest.fixture(scope="session")
def exported(
    whole_run: Path, test_set: epath.Path, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """The whole run, exported by the command of the README."""
    results = []

    def evaluate_and_keep(*arguments: Any, **options: Any) -> Evaluated:
        results.append(evaluate_run(*arguments, **options))
        return results[0]

    folder = tmp_path_factory.mktemp("exported")
    sources = ["--run", str(whole_run), "--test", str(test_set)]
    targets = ["--out", str(folder / "bundle"), "--report", str(folder / "report")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluate.evaluation.evaluate_run", evaluate_and_keep)
        result = CliRunner().invoke(main, ["export", *sources, *targets], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Exported(read_bundle(folder / "bundle"), results[0], folder / "report", result.output)


@pytest.fixture(scope="session")
def bundle(exported: Exported) -> Bundle:
    return exported.bundle


@pytest.fixture(scope="session")
def evaluated(exported: Exported) -> Evaluated:
    return exported.evaluated
