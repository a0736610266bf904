from collections import Counter
from itertools import product

import pytest
from flask.testing import FlaskClient

from app.answer import answer_photo
from app.api import describe_answer
from app.classifier import Classifier
from app.verdict import find_high_threshold, is_stable, reach_verdict
from processing.bundle import Bundle
from processing.decoding.decoder import Decoder
from processing.drawing import draw_photo
from processing.manifest import Evidence, OperatingPoint
from tests.app.conftest import encode
from tests.app.fixture_types import MakeBundle, Post


def make_evidence(bundle: Bundle, *thresholds: float) -> Evidence:
    """Evidence with these thresholds, of which the first is in force."""
    point = bundle.manifest.in_force
    points = tuple(
        OperatingPoint(**{**dict(point), "name": f"point {i}", "threshold": threshold})
        for i, threshold in enumerate(thresholds)
    )
    return bundle.manifest.model_copy(
        update={"operating_points": points, "operating_point": "point 0"}
    )


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0, "low"), (0.1999, "low"), (0.2, "middle"), (0.4999, "middle"), (0.5, "high"), (1, "high")],
)
def test_the_threshold_in_force_and_the_largest_one_part_the_verdicts(
    served: Bundle, probability: float, verdict: str
) -> None:
    evidence = make_evidence(served, 0.2, 0.5, 0.3, 0.1)
    assert reach_verdict(probability, evidence, uncertain=False) == verdict
    assert reach_verdict(probability, evidence, uncertain=True) == "middle"


def test_with_one_operating_point_only_what_is_uncertain_is_middle(served: Bundle) -> None:
    evidence = make_evidence(served, 0.2)
    assert reach_verdict(0.19, evidence, uncertain=False) == "low"
    assert reach_verdict(0.2, evidence, uncertain=False) == "high"
    assert reach_verdict(0.2, evidence, uncertain=True) == "middle"


@pytest.mark.parametrize("kind", ["dermoscopic", "close-up"])
def test_the_embedded_model_has_three_zones_for_each_kind(embedded: Bundle, kind: str) -> None:
    evidence = embedded.manifest.modalities[kind]  # type: ignore[index]
    assert find_high_threshold(evidence) > evidence.in_force.threshold


@pytest.mark.parametrize(
    ("low", "high", "stable"),
    [(0.1, 0.19, True), (0.19, 0.2, False), (0.3, 0.49, True), (0.49, 0.5, False), (0.5, 1, True)],
)
def test_a_photo_is_stable_where_the_advice_stays(low: float, high: float, *, stable: bool) -> None:
    assert is_stable(low, high, 0.2, 0.3) is stable


def test_the_limits_are_those_of_the_photos_own_kind(
    decoder: Decoder, make_bundle: MakeBundle, served: Bundle, photo: bytes
) -> None:
    modality = answer_photo(photo, decoder, Classifier(served, threads=1)).modality
    assert modality
    kinds = dict.fromkeys(served.manifest.modalities, make_evidence(served, 0.8, 0.9))
    kinds[modality] = make_evidence(served, 0.001, 0.002)
    classifier = Classifier(make_bundle(modalities=kinds), threads=1)
    answer = describe_answer("", answer_photo(photo, decoder, classifier), classifier.manifest)
    assert (answer.threshold, answer.high_threshold, answer.verdict) == (0.001, 0.002, "high")


def test_label_limits_and_verdict_agree_in_the_api(post: Post) -> None:
    photos = [
        encode(draw_photo(seed, 320, irregular=irregular))
        for seed, irregular in product(range(5), (False, True))
    ]
    images = post(*photos).get_json()["images"]
    for image in images:
        assert image["threshold"] < image["high_threshold"]
        assert (image["verdict"] == "low") == (image["label"] == "benign")
        high = image["probability"] >= image["high_threshold"]
        assert (image["verdict"] == "high") == high
    assert len(Counter(image["verdict"] for image in images)) > 1


def test_a_photo_that_cannot_be_judged_has_no_verdict(post: Post, small_photo: bytes) -> None:
    (image,) = post(small_photo).get_json()["images"]
    assert image["verdict"] is None
    assert image["high_threshold"] > image["threshold"]


def test_the_description_names_the_verdicts(client: FlaskClient) -> None:
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    values = schemas["ImageAnswer"]["properties"]["verdict"]["anyOf"]
    assert {"enum": ["high", "middle", "low"], "type": "string"} in values
