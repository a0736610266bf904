import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from processing.bundle import CARD, GOLDEN, MODEL, Bundle, BundleError
from processing.manifest import Estimate, Metric
from processing.store.open import open_store
from tests.bundles import repack
from training.__main__ import main
from training.errors import TrainingError
from training.ship.publish import publish

Make = Callable[..., Bundle]


@pytest.fixture
def make(bundle: Bundle, tmp_path: Path) -> Make:
    """A function that writes the exported bundle with an AUC on a test set, and another version."""

    def write(
        name: str, auc: float | None, test: str = "drawn", images: int = 20, low: float = 0.76
    ) -> Bundle:
        card = (bundle.path / CARD).read_bytes() + name.encode()
        metrics = () if auc is None else (measured(test, auc, images, min(low, auc)),)
        return repack(bundle, tmp_path / name, {CARD: card}, metrics=metrics)

    return write


def measured(test: str, auc: float, images: int, low: float) -> Metric:
    return Metric(
        name="AUC",
        dataset=f"test set {test}",
        estimate=Estimate(value=auc, low=low, high=1),
        interval_method="none",
        images=images,
        positives=10,
    )


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def ship(bundle: Bundle, uri: str, test: str | None = None, reason: str = "") -> str:
    return publish(bundle.path, uri, test, reason, lambda _: None)


def test_a_better_model_is_published_and_a_worse_one_needs_a_reason(
    make: Make, bucket: str
) -> None:
    uri = f"s3://{bucket}/melanoma"
    good, better, worse = make("good", 0.8), make("better", 0.9), make("worse", 0.85)
    ship(good, uri)
    ship(better, uri)
    with pytest.raises(TrainingError, match="the bundle has an AUC of 0.8500.*0.9000.*--force"):
        ship(worse, uri)
    assert open_store(uri).read_pointer().version == better.manifest.version
    ship(worse, uri, reason="the better one crashed")
    assert open_store(uri).read_pointer().note == "the better one crashed"


def test_models_and_rollback_show_which_version_is_current(make: Make, bucket: str) -> None:
    uri = f"s3://{bucket}/melanoma"
    first, second = make("first", 0.8), make("second", 0.7)
    ship(first, uri)
    ship(second, uri, reason="a smaller one is needed")
    listed = command("models", uri).output.splitlines()
    assert second.manifest.version[:12] in listed[1]
    for text in ("current", "drawn 0.700 (0.700 to 1.000)", "a smaller one is needed"):
        assert text in listed[1]
    assert first.manifest.version[:12] in listed[2]
    assert "1 back" in listed[2]
    assert f"{first.manifest.version} is current" in command("rollback", uri).output
    listed = command("models", uri).output.splitlines()
    assert "current" in listed[1]
    assert first.manifest.version[:12] in listed[1]
    assert second.manifest.version[:12] in listed[2]  # still stored


@pytest.mark.parametrize(
    ("auc", "low", "test", "message"),
    [
        (None, 0, None, "is empty, and the bundle was not measured on a test set"),
        (0.9, 0.8, "other", "is empty, and the bundle was not measured on test set other"),
        (0.9, 0.75, None, r"test set drawn the bundle has an AUC of 0.900 \(0.750 .* above 0.75"),
    ],
)
def test_the_first_model_of_a_store_must_be_good_or_have_a_reason(
    make: Make, tmp_path: Path, auc: float | None, low: float, test: str | None, message: str
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    first = make("first", auc, low=low)
    with pytest.raises(TrainingError, match=f"{message}.*--force"):
        ship(first, str(store), test=test)
    assert not list(store.iterdir())
    ship(first, str(store), test=test, reason="a trial")
    assert open_store(str(store)).read_pointer().note == "a trial"


@pytest.mark.parametrize(
    ("auc", "test", "images", "message"),
    [
        (None, "drawn", 20, "The bundle was not measured on test set drawn, only on none"),
        (0.9, "other", 20, "The bundle was not measured on test set drawn, only on other"),
        (0.9, "drawn", 21, "has 21 images in the bundle's figures and 20 in those"),
    ],
)
def test_what_cannot_be_compared_is_not_published(
    make: Make, tmp_path: Path, auc: float | None, test: str, images: int, message: str
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    ship(make("there", 0.8), str(store))
    with pytest.raises(TrainingError, match=message):
        ship(make("new", auc, test, images), str(store))


def test_models_are_compared_on_the_test_set_that_is_named(make: Make, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    ship(make("there", 0.8), str(store))
    with pytest.raises(TrainingError, match="was not measured on test set other"):
        ship(make("new", 0.9), str(store), test="other")
    ship(make("newer", 0.9), str(store), test="drawn")


def spoil_golden(bundle: Bundle) -> bytes:
    images, probability = bundle.read_golden()
    file = io.BytesIO()
    np.savez(file, images=images, probability=1 - probability)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        (MODEL, lambda _: b"no graph", "is not a graph that can be served"),
        (GOLDEN, spoil_golden, "the probabilities of the golden images differ by"),
    ],
)
def test_a_bundle_that_fails_its_golden_check_is_not_published(
    bundle: Bundle, tmp_path: Path, file: str, spoil: Callable[[Bundle], bytes], message: str
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    spoilt = repack(bundle, tmp_path / "spoilt", {file: spoil(bundle)})
    with pytest.raises(BundleError, match=message):
        ship(spoilt, str(store))
    assert not list(store.iterdir())


def test_a_store_that_cannot_be_written_is_named(bundle: Bundle, tmp_path: Path) -> None:
    answer = command("publish", bundle.path, tmp_path / "absent")
    assert answer.exit_code != 0
    assert "absent" in str(answer.exception)
