import io
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from app.answer import answer_photo
from app.classifier import Classifier, Prediction
from processing.bundle import VIEWS, Bundle
from processing.decoding.decoder import Decoder
from processing.drawing import draw_photo
from tests.app.fixture_types import MakeBundle, Post

Square = NDArray[np.uint8]

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def classifier(served: Bundle) -> Classifier:
    return Classifier(served, threads=1)


def orientations(square: Square) -> Iterator[Square]:
    for mirrored, turns in product((False, True), range(4)):
        yield np.ascontiguousarray(np.rot90(square[:, ::-1] if mirrored else square, turns))


def test_the_range_is_that_of_all_eight_orientations(classifier: Classifier) -> None:
    square = draw_photo(3, classifier.manifest.input.size, irregular=True)
    by_hand = [
        float(value)
        for each in orientations(square)
        for value in classifier.classify(each[np.newaxis])[0].by_view
    ]
    (first,) = classifier.classify(square[np.newaxis])
    seen = classifier.measure_stability(square, first)
    # int8 rounds the second photo of a batch a little differently from the first.
    assert seen.low == pytest.approx(min(by_hand), abs=0.01)
    assert seen.high == pytest.approx(max(by_hand), abs=0.01)
    assert seen.low < seen.high


@pytest.mark.parametrize("views", VIEWS)
def test_no_orientation_is_looked_at_twice(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    averaged = VIEWS[views]
    square = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    seen = []

    def look(image: Square, _deadline: object = None) -> Prediction:
        by_view = [
            np.rot90(image[:, ::-1] if view >= 4 else image, view % 4).tobytes()
            for view in averaged
        ]
        seen.extend(by_view)
        probabilities = np.zeros(len(by_view), np.float32)
        return Prediction(
            probability=0.5,
            modality=None,
            threshold=0.9,
            malignant=False,
            outlier=False,
            by_view=probabilities,
            cam=probabilities,
        )

    monkeypatch.setattr(classifier, "_classify_one", look)
    classifier.measure_stability(square, look(square))
    assert len(seen) == 8
    assert len(set(seen)) == 8


def test_a_photo_on_both_sides_of_the_threshold_is_uncertain(
    decoder: Decoder, make_bundle: MakeBundle, photo: bytes
) -> None:
    plain = Classifier(make_bundle("plain"), threads=1)
    seen = answer_photo(photo, decoder, plain, stability=True).stability
    assert seen
    assert seen.low < seen.high
    for threshold, uncertain in (
        ((seen.low + seen.high) / 2, True),
        (seen.low, False),
        (seen.high + 1e-6, False),
    ):
        point = plain.manifest.in_force.model_dump() | {"threshold": threshold}
        bundle = make_bundle(
            f"at{threshold}",
            operating_points=[point],
            operating_point=point["name"],
            modalities={},
        )
        judged = answer_photo(photo, decoder, Classifier(bundle, threads=1), stability=True)
        assert judged.uncertain is uncertain
        assert judged.probability is not None
        assert judged.label == ("malignant" if judged.probability >= threshold else "benign")


def test_the_api_looks_at_all_orientations_only_where_it_is_asked_to(
    client: FlaskClient, photo: bytes
) -> None:
    def ask(**fields: str) -> Any:
        data = {"image": (io.BytesIO(photo), "a.jpg"), **fields}
        return client.post("/predict", data=data, headers=JSON).get_json()["images"][0]

    assert ask()["stability"] is None
    asked = ask(stability="true")
    assert asked["stability"]["low"] <= asked["probability"] <= asked["stability"]["high"]


def test_the_page_shows_the_range(post: Post, photo: bytes) -> None:
    assert "Turned and mirrored" in post(photo, headers={"Accept": "text/html"}).text
