import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from app.classifier import Classifier
from processing.bundle import Bundle, BundleError
from processing.drawing import draw_lesion
from tests.app.fixture_types import MakeBundle


def pack_golden(images: NDArray[np.uint8], probability: NDArray[np.floating]) -> bytes:
    file = io.BytesIO()
    np.savez(file, images=images, probability=probability)
    return file.getvalue()


def draw_squares(classifier: Classifier, count: int) -> NDArray[np.uint8]:
    size = classifier.manifest.input.size
    return np.stack([draw_lesion(seed, size, irregular=True) for seed in range(count)])


def test_golden_images_get_their_probabilities(served: Bundle) -> None:
    images, expected = served.read_golden()
    answers = Classifier(served, threads=2).classify(images)
    assert [answer.probability for answer in answers] == pytest.approx(list(expected), abs=1e-3)


def test_each_location_has_its_contribution(served: Bundle) -> None:
    classifier = Classifier(served, threads=1)
    (answer,) = classifier.classify(draw_squares(classifier, 1))
    assert answer.cam.ndim == 2
    assert np.isfinite(answer.cam).all()


@pytest.mark.parametrize("shift", [0.0, 1e-6])
def test_a_probability_at_the_threshold_is_malignant_and_below_is_not(
    served: Bundle, make_bundle: MakeBundle, shift: float
) -> None:
    classifier = Classifier(served, threads=1)
    squares = draw_squares(classifier, 1)
    probability = classifier.classify(squares)[0].probability
    point = served.manifest.in_force.model_dump() | {"threshold": probability + shift}
    changed = make_bundle(operating_points=[point], operating_point=point["name"], modalities={})
    assert Classifier(changed, threads=1).classify(squares)[0].malignant is (shift == 0)


def test_a_model_that_answers_its_golden_images_otherwise_is_refused(
    served: Bundle, make_bundle: MakeBundle
) -> None:
    images, probability = served.read_golden()
    other = make_bundle(files={"golden.npz": pack_golden(images, probability + 0.01)})
    with pytest.raises(BundleError, match="golden images differ by"):
        Classifier(other, threads=1)


def test_golden_probabilities_that_are_no_numbers_are_refused(
    served: Bundle, make_bundle: MakeBundle
) -> None:
    images, probability = served.read_golden()
    other = make_bundle(files={"golden.npz": pack_golden(images, probability * np.nan)})
    with pytest.raises(BundleError, match="golden images"):
        Classifier(other, threads=1)


def test_a_file_that_is_no_graph_is_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="not a graph that can be served"):
        Classifier(make_bundle(files={"model.tflite": b"no graph"}), threads=1)


def test_a_manifest_of_another_input_size_is_refused(
    served: Bundle, make_bundle: MakeBundle
) -> None:
    size = served.manifest.input.size + 32
    other = make_bundle(input={"size": size, "crop_fraction": 1.0})
    with pytest.raises((BundleError, ValueError)):
        Classifier(other, threads=1)


def test_images_of_another_shape_or_type_are_a_mistake(served: Bundle) -> None:
    classifier = Classifier(served, threads=1)
    squares = draw_squares(classifier, 1)
    with pytest.raises(ValueError, match="images must be"):
        classifier.classify(squares[:, 1:])
    with pytest.raises(ValueError, match="float64"):
        classifier.classify(squares.astype(float))


@pytest.mark.slow
def test_requests_at_once_do_not_disturb_each_other(served: Bundle) -> None:
    classifier = Classifier(served, threads=2)
    squares = draw_squares(classifier, 8)
    alone = [classifier.classify(square[np.newaxis])[0].probability for square in squares]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = pool.map(lambda square: classifier.classify(square[np.newaxis])[0], squares)
            assert [answer.probability for answer in together] == pytest.approx(alone, abs=1e-5)
