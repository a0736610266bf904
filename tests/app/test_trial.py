"""Models from a store that must not reach the process that serves, and a loader that goes on."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app import metrics, service, trial
from app.service import ModelInService
from processing.bundle import Bundle, BundleError
from tests.app.fixture_types import MakeBundle, MakeClient, WaitUntil
from tests.forms import HTML

# A graph that asks for as much memory as its photo says: a white one for 1.7 GB.
GREEDY = """
import sys
import tensorflow as tf

@tf.function(input_signature=[tf.TensorSpec((1, 224, 224, 3), tf.uint8, "images")])
def serve(images):
    side = tf.cast(tf.reduce_max(tf.cast(images, tf.int32)), tf.int32) * 80
    filled = tf.fill([side, side], tf.cast(side, tf.float32))
    score = tf.reduce_mean(filled, axis=None, keepdims=True)[0]
    return {"probability": score, "cam": filled}

module = tf.Module()
module.serve = serve
tf.saved_model.save(module, sys.argv[1], signatures={"serve": serve})
converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1], signature_keys=["serve"])
open(sys.argv[2], "wb").write(converter.convert())
"""


def find_trials() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "app.on_trial" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def make_new(make_bundle: MakeBundle, name: str = "new", **files: bytes) -> Bundle:
    """A bundle that was not tried before."""
    return make_bundle(name, files={"MODEL_CARD.md": name.encode(), **files})


def test_a_model_is_tried_once(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_new(make_bundle, "tried once")
    trial.try_bundle(bundle)
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0)  # a second trial would have no time
    trial.try_bundle(bundle)


@pytest.mark.fault("a new model's graph takes all memory", "its trial ends, the app goes on")
@pytest.mark.slow
def test_a_graph_that_takes_all_memory_ends_its_trial_alone(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    graph = tmp_path / "greedy.tflite"
    command = [sys.executable, "-c", GREEDY, str(tmp_path / "saved"), str(graph)]
    subprocess.run(command, check=True, capture_output=True)
    bundle = make_new(make_bundle, "greedy", **{"model.tflite": graph.read_bytes()})
    # With memory enough it would fail for its answers, which differ from the golden ones.
    with pytest.raises(
        BundleError, match="(?s)failed in its trial.*(failed to invoke|signal|needs more)"
    ):
        trial.try_bundle(bundle)


@pytest.mark.fault("a new model's graph crashes", "not served, the app goes on")
def test_a_crash_in_the_trial_is_not_one_of_the_app(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client(ready=False, model_uri=str(make_new(make_bundle, "crash").path))
    wait_until(lambda: bool(find_trials()))
    find_trials()[0].kill()
    wait_until(lambda: "ended with signal 9" in caplog.text)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_trial_has_no_keys(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-the-trial")
    bundle = make_new(make_bundle, "no keys")
    seen: list[dict[str, str]] = []
    trying = threading.Thread(target=trial.try_bundle, args=(bundle,))
    trying.start()
    wait_until(lambda: bool(find_trials()))
    seen.append(find_trials()[0].environ())
    trying.join()
    assert "PATH" in seen[0]
    assert "AWS_SECRET_ACCESS_KEY" not in seen[0]


def test_a_trial_without_time_is_repeated(
    make_client: MakeClient,
    make_bundle: MakeBundle,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "FIRST_RETRY_SECONDS", 1)
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0)
    client = make_client(ready=False, model_uri=str(make_new(make_bundle, "no time").path))
    wait_until(lambda: "did not end" in caplog.text)
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 60)
    wait_until(lambda: client.get("/readyz").status_code == 200)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"MODEL_CARD.md": b"\xff\xfe"}, "no text in UTF-8"),
        ({"golden.npz": b"golden"}, "no golden images"),
        ({"model.tflite": b"graph"}, "not a graph that can be served"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(
    make_bundle: MakeBundle, files: dict[str, bytes], fault: str
) -> None:
    with pytest.raises(BundleError, match=f"(?s)failed in its trial.*{fault}"):
        trial.try_bundle(make_bundle(files=files))


def test_the_card_is_read_when_the_model_is_loaded(
    make_client: MakeClient, make_bundle: MakeBundle
) -> None:
    bundle = make_new(make_bundle, "card that vanishes")
    client = make_client(model_uri=str(bundle.path))
    (bundle.path / "MODEL_CARD.md").unlink()
    assert "card that vanishes" in client.get("/model", headers=HTML).text


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[BaseException]], None]:
    """A function that has the loader meet an error that nobody foresaw."""

    def do(kind: type[BaseException]) -> None:
        step = ModelInService._step

        def fail(self: ModelInService) -> bool:
            monkeypatch.setattr(ModelInService, "_step", step)
            raise kind("unforeseen")

        monkeypatch.setattr(ModelInService, "_step", fail)

    return do


def test_the_loader_survives_any_fault_and_counts_it(
    make_client: MakeClient,
    fail_once: Callable[[type[BaseException]], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(service, "FIRST_RETRY_SECONDS", 0.1)
    before = metrics._loader_faults._value.get()
    fail_once(MemoryError)
    make_client()
    assert "The model loader failed: unforeseen" in caplog.text
    assert metrics._loader_faults._value.get() == before + 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loader_that_ended_is_told(
    make_client: MakeClient,
    fail_once: Callable[[type[BaseException]], None],
    wait_until: WaitUntil,
) -> None:
    fail_once(KeyboardInterrupt)
    client = make_client(ready=False)
    wait_until(lambda: "has ended" in client.get("/readyz").text)
    assert client.get("/readyz").status_code == 503


def test_a_loader_with_nothing_to_follow_is_ready(make_client: MakeClient) -> None:
    client = make_client(model_uri=None)
    loader = client.application.extensions["model_in_service"]
    loader._loader.join(30)
    assert not loader._loader.is_alive()
    assert client.get("/readyz").status_code == 200
