"""One training on several devices, processes and backends: the same losses and predictions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from etils import epath

from processing.drawing import draw_lesion
from tests.ports import find_free_port
from training.errors import TrainingError
from training.recipe import Augmentation
from training.train import hardware
from training.train.hardware import Hardware, check_batch_size, choose_backend, find_hardware

ROOT = Path(__file__).parents[3]
# Optimizing takes JAX much longer than the few steps here.
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
RECIPE = [
    *("--backbone", "EfficientNetLite0", "--folds", "2", "--only-fold", "0"),
    *("--batch-size", "8", "--learning-rate", "1e-3", "--no-tta"),
]
# Without what each replica of TensorFlow draws for itself; few steps, as a sum in another order
# soon grows into other weights; and without statistics of 40 images, which multiply what differs.
SHORT = ["--size", "32", "--epochs", "2", "--steps-per-epoch", "1", "--dropout", "0"]
SHORT += ["--drop-connect", "0", "--averaged-share", "0", "--batchnorm-images", "0"]
# The images are flipped only: a turned one differs by 0.0002 of 255 with the size of the batch that
# TensorFlow turns it in, which the statistics of eight images of 32 px make 0.0002 of the loss.
SHORT += [
    f"--augment={name}=0" for name in Augmentation.model_fields if name not in ("flips", "cutout")
]


def devices(count: int) -> dict[str, str]:
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def start(*command: str, **variables: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=kept | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return output


def train(run: Path, data: epath.Path, *options: str, **variables: str) -> str:
    command = ["-m", "training", "train", "--data", str(data), "--run", str(run), *RECIPE]
    return finish(start(*command, *options, **variables))


def losses(run: Path) -> np.ndarray:
    return pd.read_csv(run / "fold0" / "history.csv")["loss"].to_numpy()


def logits(run: Path) -> np.ndarray:
    return pd.read_csv(run / "fold0" / "oof.csv")["logit"].to_numpy()


@pytest.fixture(scope="module")
def jax_alone(data: epath.Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("jax") / "alone"
    assert "CPU" in train(run, data, *SHORT, **JAX, **devices(1))
    return run


@pytest.mark.slow
def test_eight_jax_devices_train_as_one_does(
    data: epath.Path, jax_alone: Path, tmp_path: Path
) -> None:
    output = train(tmp_path / "eight", data, *SHORT, **JAX, **devices(8))
    assert "as 8 devices, JAX" in output
    np.testing.assert_allclose(losses(tmp_path / "eight"), losses(jax_alone), rtol=1e-4)
    np.testing.assert_allclose(logits(tmp_path / "eight"), logits(jax_alone), atol=1e-3)


@pytest.mark.slow
def test_two_jax_processes_train_as_one_does(
    data: epath.Path, jax_alone: Path, tmp_path: Path
) -> None:
    command = ["-m", "training", "train", "--data", str(data), "--run", str(tmp_path / "two")]
    address = f"127.0.0.1:{find_free_port()}"
    both = [
        start(
            *command,
            *RECIPE,
            *SHORT,
            **JAX,
            **devices(2),
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    first, second = (finish(process) for process in both)
    assert "as 4 devices in 2 processes, JAX" in first
    assert "pooled" in first
    assert "pooled" not in second  # one of them writes and reports
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(jax_alone), rtol=1e-4)
    np.testing.assert_allclose(logits(tmp_path / "two"), logits(jax_alone), atol=1e-3)


@pytest.mark.slow
def test_two_tensorflow_replicas_train_as_one_does(data: epath.Path, tmp_path: Path) -> None:
    split = (
        "import tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "part = tf.config.LogicalDeviceConfiguration()\n"
        "tf.config.set_logical_device_configuration(cpu, [part, part])\n"
        "from training.__main__ import run\n"
        "run()"
    )
    train(tmp_path / "one", data, *SHORT)
    options = ["train", "--data", str(data), "--run", str(tmp_path / "two"), *RECIPE, *SHORT]
    assert "as 2 devices, TensorFlow" in finish(start("-c", split, *options))
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-3)
    # Their sums over the batch are taken otherwise; the first steps of Adam make much of it.
    np.testing.assert_allclose(logits(tmp_path / "two"), logits(tmp_path / "one"), atol=0.05)


@pytest.mark.slow
def test_b4_has_the_same_loss_on_jax_devices_and_on_tensorflow(tmp_path: Path) -> None:
    images = np.stack([draw_lesion(i, 128, irregular=i % 2 == 1) for i in range(2)])
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    step = ["-m", "tests.training.one_step", "EfficientNetB4", "128"]
    step += [str(tmp_path / "b4.weights.h5"), str(tmp_path / "images.npy")]
    shown = [finish(start(*step)), finish(start(*step, **JAX, **devices(2)))]
    one, two = (
        np.array([float(word) for word in output.split("LOSSES")[1].split()]) for output in shown
    )
    np.testing.assert_allclose(one[0], two[0], atol=1e-4)
    # After a step: batch statistics of two images multiply the differences of the first.
    np.testing.assert_allclose(one[1], two[1], atol=1e-3)


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        ("torch", "KERAS_BACKEND=torch is not supported"),
        ("jax", r"jax is not installed: pip install jax"),
    ],
)
def test_an_unavailable_backend_is_named(
    backend: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(TrainingError, match=complaint):
        choose_backend()


def test_jax_is_chosen_for_a_tpu_unless_a_backend_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TPU_NAME", "local")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    choose_backend()
    assert os.environ["KERAS_BACKEND"] == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    choose_backend()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_a_tpu_that_tensorflow_cannot_use_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TPU_NAME", "local")
    with caplog.at_level("INFO", "training"):
        assert find_hardware("auto").devices == 1
    warning, found = caplog.messages
    assert "TPU_NAME is present, but TensorFlow" in warning
    assert "To use it: set KERAS_BACKEND=jax" in warning
    assert "Hardware: CPU" in found


def test_a_batch_that_the_devices_cannot_share_is_refused() -> None:
    with pytest.raises(TrainingError, match="--batch-size 30 .* 8 devices. Give a multiple of 8"):
        check_batch_size(30, Hardware("8 TPU cores", 8, "mixed_bfloat16"))
    assert hardware.Hardware("", 8, "", process=1, processes=2).rows(32) == slice(16, 32)
