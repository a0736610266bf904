"""Training that is killed, runs out of disk space, or has a loss that is not finite."""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from etils import epath

from tests.training.disks import enlarge
from training.data.folder import Data
from training.errors import TrainingError
from training.recipe import Schedule, TrainSettings
from training.train import progress
from training.train.checkpoint import State, checkpoint_path, read_checkpoint, write_checkpoint
from training.train.cross_validation import cross_validate

ROOT = Path(__file__).parents[3]
# Commands that ran within this process may have set the second.
NOT_PASSED_ON = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")
# The optimizer changes after the first epoch, there is a second head, dropout has its state, and
# images are drawn, degraded and mixed.
RECIPE = [
    *("--backbone", "EfficientNetLite0", "--size", "32", "--batch-size", "4", "--folds", "2"),
    *("--epochs", "2", "--freeze-epochs", "1", "--diagnosis-weight", "0.5", "--no-tta"),
    *("--epoch-images", "40", "--balance", "target:1=0.5", "--clip-norm", "1"),
    *("--augment", "mixup=0.3", "--augment", "jpeg=0.5", "--augment", "downscale=1"),
]


def train(run: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Train fold 0, with a checkpoint after every step."""
    session = ["--run", str(run), "--only-fold", "0", "--checkpoint-minutes", "1e-9"]
    with log_of(run).open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "training", "train", *session, *options],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
            stdout=log,
            stderr=log,
        )


def log_of(run: Path) -> Path:
    return run.with_suffix(".log")


def wait_for_checkpoints(process: "subprocess.Popen[bytes]", run: Path, count: int) -> None:
    """Wait until so many new checkpoints are written."""
    path, seen = checkpoint_path(run / "fold0"), 0
    last = path.stat().st_mtime_ns if path.exists() else 0
    while seen < count and process.poll() is None:
        time.sleep(0.01)
        if path.exists() and path.stat().st_mtime_ns != last:
            last, seen = path.stat().st_mtime_ns, seen + 1
    assert process.poll() is None, "the training ended before it could be killed"


def weights(run: Path) -> list[np.ndarray]:
    model = keras.models.load_model(run / "fold0" / "model.keras")
    return [np.asarray(weight) for weight in model.weights]


@pytest.mark.slow
def test_a_training_that_is_killed_ends_with_the_weights_of_an_undisturbed_one(
    data: epath.Path, tmp_path: Path
) -> None:
    begin = ["--data", str(data), *RECIPE]
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "killed"
    whole = train(undisturbed, *begin)
    rng = random.Random(0)
    for options in (begin, ["--resume"]):
        process = train(run, *options)
        wait_for_checkpoints(process, run, rng.randint(3, 7))
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
    assert (run / "fold0" / "checkpoint.npz").exists()
    assert whole.wait(300) == 0, log_of(undisturbed).read_text()
    assert train(run, "--resume").wait(300) == 0, log_of(run).read_text()
    for ours, expected in zip(weights(run), weights(undisturbed), strict=True):
        assert (ours == expected).all()
    # The mean loss is complete, too: the sums of the interrupted epoch were saved.
    ours, expected = (
        [line.split(",")[:4] for line in (path / "fold0/history.csv").read_text().splitlines()]
        for path in (run, undisturbed)
    )
    assert len(ours) == 3
    assert ours == expected
    # The checkpoint is no longer needed.
    assert not (run / "fold0" / "checkpoint.npz").exists()
    # The log begins with our own lines, not with TensorFlow's notices.
    assert log_of(undisturbed).read_text().startswith("Hardware: CPU")


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint_and_training_continues_once_there_is_space(
    train_settings: TrainSettings, read: Data, small_disk: Path
) -> None:
    """A checkpoint takes 14 MB, and for a moment there are two of them."""
    run = small_disk / "run"
    quick = {"steps_per_epoch": 1, "size": 32, "tta": False}
    settings = train_settings.model_copy(update=quick | {"freeze_epochs": train_settings.epochs})
    enlarge(small_disk, 20_000)
    with pytest.raises(TrainingError, match=r"checkpoint.npz: the disk is full\. Free some space"):
        cross_validate(settings, read, run, only_folds=[0])
    assert read_checkpoint(checkpoint_path(run / "fold0")).epoch == 1
    enlarge(small_disk, 400_000)
    metrics = cross_validate(settings, read, run, only_folds=[0], resume=True)
    assert metrics is not None
    assert metrics.by_fold[0].epochs == 2


@pytest.mark.slow
def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    train_settings: TrainSettings,
    read: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    # The learning rate rises from 0: the first step does no harm, and the second one's is seen in
    # the third one's loss.
    steep = {"schedule": Schedule(learning_rate=1e30), "steps_per_epoch": 1, "size": 32}
    steep |= {"epochs": 3}
    with pytest.raises(TrainingError, match=r"no longer finite \(epoch 3\).*lower --learning-rate"):
        cross_validate(
            train_settings.model_copy(update=steep), read, tmp_path / "run", only_folds=[0]
        )
    # Until then the log showed how far the training was.
    assert "Epoch 2 of 3, step 1 of 1: loss" in caplog.text
    state = read_checkpoint(checkpoint_path(tmp_path / "run" / "fold0"))
    assert state.epoch == 2
    assert all(np.isfinite(array).all() for array in state.variables)
    assert not (tmp_path / "run" / "fold0" / "model.keras").exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, State(1, 0, False, 2.5, [{"loss": 1.0}], [np.ones(3)], [np.ones(2)], []))
    assert read_checkpoint(path).history == [{"loss": 1.0}]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"checkpoint.npz is damaged .* Remove it"):
        read_checkpoint(path)


def test_resume_takes_its_settings_from_the_run_and_names_which_differ(
    run: Path, data: epath.Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")

    def resume(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "training", "train", "--run", str(copy), "--resume"]
        return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)

    other = resume("--only-fold", "0", "--epochs", "9", "--learning-rate", "0.1")
    assert other.returncode == 1
    differing = "epochs 2 there, 9 now; schedule.learning_rate 0.001 there, 0.1 now"
    assert differing in other.stderr.splitlines()[-1]
    moved = shutil.copytree(data, tmp_path / "moved")
    assert resume("--only-fold", "0", "--data", str(moved)).returncode == 0
    assert json.loads((copy / "config.json").read_text())["data"] == str(moved)
