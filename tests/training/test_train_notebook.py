"""The notebook that trains on Kaggle, executed in two sessions on drawn lesions.

JAX takes this machine for eight devices, as many as Kaggle's TPU has cores.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from etils import epath
from nbclient.exceptions import CellExecutionError

from processing.bundle import read_bundle
from processing.store.open import open_store
from tests.conftest import S3Server, describe_access, make_bucket
from tests.training.notebooks import FOLDER, ROOT, execute
from training.serving.calibration import calibrate
from training.serving.served import read_finished_run, serve_run
from training.train.run import RunMetrics

# Kaggle's own module asks a server of Kaggle's.
SECRETS = """
import json
from pathlib import Path

class UserSecretsClient:
    def get_secret(self, label):
        return json.loads(Path(__file__).with_name("secrets.json").read_text())[label]
"""
OPTIONS = ["--backbone", "EfficientNetLite0", "--folds", "2", "--epochs", "1", "--batch-size", "8"]


class Kaggle:
    """A notebook's account there: attached data, secrets, an output folder for each session."""

    def __init__(self, folder: Path, data: epath.Path):
        self._folder = folder
        self.attached = folder / "input"
        # As Kaggle showed a data set before 2026, and as it shows the output of a notebook since.
        self.attached.mkdir(parents=True)
        (self.attached / "lesions").symlink_to(data)
        (self.attached / "notebooks/someone").mkdir(parents=True)
        (folder / "modules").mkdir(parents=True)
        (folder / "modules/kaggle_secrets.py").write_text(SECRETS)

    def keep_secrets(self, secrets: dict[str, str]) -> None:
        (self._folder / "modules/secrets.json").write_text(json.dumps(secrets))

    def attach_output(self, out: Path) -> str:
        """Return the path under which Kaggle formerly showed the attached output of a session."""
        (self.attached / "notebooks/someone" / out.name).symlink_to(out)
        return str(self.attached / out.name)

    def run_session(self, out: str, options: list[str], **parameters: Any) -> tuple[Path, str]:
        """The session's output folder, and what its cells printed."""
        data = str(self.attached / "datasets/someone/lesions")
        own = {"code": str(ROOT), "attached": str(self.attached), "data": data} | parameters
        shown = execute(
            "train_tpu.ipynb",
            own | {"options": options, "out": str(self._folder / out)},
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            JAX_DISABLE_MOST_OPTIMIZATIONS="1",  # it takes longer than the few steps here
            XLA_FLAGS="--xla_force_host_platform_device_count=8",
            PYTHONPATH=str(self._folder / "modules"),
        )
        return self._folder / out, shown


@pytest.fixture
def kaggle(tmp_path: Path, data: epath.Path) -> Kaggle:
    return Kaggle(tmp_path, data)


class Sessions(NamedTuple):
    """What two sessions left and showed; the second continued from the output of the first."""

    kaggle: Kaggle

    first: Path
    first_shown: str
    first_files: list[Path]
    second: Path
    second_shown: str
    store: str


@pytest.fixture(scope="module")
def sessions(
    data: epath.Path,
    test_set: epath.Path,
    seaweedfs: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sessions:
    folder = tmp_path_factory.mktemp("kaggle")
    kaggle = Kaggle(folder, data)
    secrets = describe_access(seaweedfs, folder)
    kaggle.keep_secrets(secrets)
    store = f"s3://{make_bucket(seaweedfs)}/melanoma"
    options = [*OPTIONS, "--learning-rate", "3e-3", "--warmup-epochs", "0", "--no-tta"]
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        first, first_shown = kaggle.run_session("first", options, only_folds=[0], bundle="")
        files = sorted(first.rglob("*"))
        second, second_shown = kaggle.run_session(
            "second",
            options,
            previous=kaggle.attach_output(first),
            tests=[str(test_set)],
            precision="float16",
            views=2,
            store=store,
            force="lesions that are drawn",
            secrets=list(secrets),
        )
    return Sessions(kaggle, first, first_shown, files, second, second_shown, store)


def test_two_sessions_train_a_run_and_publish_its_bundle(sessions: Sessions, s3: S3Server) -> None:
    assert "as 8 devices, JAX" in sessions.first_shown
    assert not (sessions.first / "bundle").exists()
    # What a session is given is read, and never written.
    assert sorted(sessions.first.rglob("*")) == sessions.first_files
    assert "Fold 0 is already finished" in sessions.second_shown
    metrics = RunMetrics.model_validate_json((sessions.second / "run/metrics.json").read_bytes())
    assert (metrics.folds_done, metrics.images) == (2, 80)
    manifest = read_bundle(sessions.second / "bundle").manifest
    made = manifest.training
    assert (made["precision"], made["views_averaged"]) == ("float16", 2)
    assert "test set drawn" in {metric.dataset for metric in manifest.metrics}
    (published,) = open_store(sessions.store).read_pointer().history
    assert (published.version, published.note) == (manifest.version, "lesions that are drawn")


def test_what_jax_trained_tensorflow_exports_with_the_same_probabilities(
    sessions: Sessions,
) -> None:
    run = sessions.second / "run"
    served = serve_run(read_finished_run(run), "float32", 1)
    by_jax = pd.read_csv(run / "oof.csv").set_index("image_name")["logit"]
    there = served.oof.set_index("image_name")
    expected = calibrate(by_jax[there.index].to_numpy(), served.evidence.calibration)
    np.testing.assert_allclose(there["probability"], expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


@pytest.mark.slow
def test_a_session_out_of_time_ends_cleanly_and_exports_nothing(kaggle: Kaggle) -> None:
    out, shown = kaggle.run_session("out", OPTIONS, hours=0, store="s3://nobody/reads-this")
    assert "Continue in another session" in shown
    assert not (out / "bundle").exists()


@pytest.mark.slow
def test_an_export_that_would_not_end_in_time_is_left_to_another_session(
    sessions: Sessions,
) -> None:
    previous = sessions.kaggle.attach_output(sessions.second)
    options = [*OPTIONS, "--learning-rate", "3e-3", "--warmup-epochs", "0", "--no-tta"]
    out, shown = sessions.kaggle.run_session(
        "third", options, previous=previous, hours=1, export_hours=2, store="s3://nobody/reads-this"
    )
    assert "No time is left to export" in shown
    assert not (out / "bundle").exists()


@pytest.mark.slow
def test_data_that_is_not_attached_stops_the_notebook(kaggle: Kaggle) -> None:
    with pytest.raises(CellExecutionError, match="input/absent does not exist. Attach it in"):
        kaggle.run_session("out", OPTIONS, data=str(kaggle.attached / "absent"))


@pytest.mark.slow
def test_an_old_numpy_stops_the_notebook_before_it_trains(kaggle: Kaggle, tmp_path: Path) -> None:
    described = tmp_path / "modules/numpy-1.26.4.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    with pytest.raises(CellExecutionError, match=r"NumPy 1\.26\.4 is installed, and 2 or later"):
        kaggle.run_session("out", OPTIONS)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_previous_output_without_a_run_is_refused(kaggle: Kaggle, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match=f"previous: {tmp_path} holds no run"):
        kaggle.run_session("out", OPTIONS, previous=str(tmp_path))


@pytest.mark.slow
def test_training_that_fails_stops_the_notebook(kaggle: Kaggle) -> None:
    with pytest.raises(CellExecutionError, match="--batch-size 12 cannot be shared equally by 8"):
        kaggle.run_session("out", [*OPTIONS, "--batch-size", "12"])


def test_the_notebook_is_described_as_kaggle_demands() -> None:
    # https://github.com/Kaggle/kaggle-cli/blob/main/docs/kernels_metadata.md
    described = json.loads((FOLDER / "kernel-metadata.json").read_text(encoding="utf-8"))
    assert (FOLDER / described["code_file"]).name == "train_tpu.ipynb"
    owner, slug = described["id"].split("/")
    assert owner
    assert slug == described["title"].lower().replace(" ", "-")
    assert (described["language"], described["kernel_type"]) == ("python", "notebook")
    assert (described["enable_tpu"], described["machine_shape"]) == (True, "TpuV5E8")
    assert described["enable_internet"] is True
    assert all(re.fullmatch(r"[\w-]+/[\w-]+", name) for name in described["dataset_sources"])
    # It would take the place of the TPU's image: https://github.com/Kaggle/kaggle-cli/issues/1197
    assert "docker_image" not in described
