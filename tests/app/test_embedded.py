"""The model in this repository, as it is served."""

from pathlib import Path

import pytest
import skimage

from app.answer import answer_photo
from app.classifier import Classifier
from app.examples import EXAMPLES, FOLDER, Example
from processing.bundle import Bundle
from processing.decoding.decoder import Decoder
from tests.app.fixture_types import MakeClient
from tests.forms import HTML
from tests.isic import ISIC2017_TEST_SQUARES, list_photos, needs

NO_LESION = ("chelsea.png", "astronaut.png", "coffee.png", "page.png")  # a cat, a face


@pytest.fixture(scope="module")
def classifier(embedded: Bundle) -> Classifier:
    return Classifier(embedded, threads=2)


def test_without_a_setting_it_is_in_service(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, embedded: Bundle
) -> None:
    monkeypatch.delenv("MODEL_URI")
    assert embedded.manifest.version in make_client().get("/readyz").text


@pytest.mark.parametrize("name", NO_LESION)
def test_a_photo_of_no_lesion_gets_no_label(
    decoder: Decoder, classifier: Classifier, name: str
) -> None:
    photo = Path(skimage.__file__).with_name("data") / name
    answer = answer_photo(photo.read_bytes(), decoder, classifier)
    assert answer.reasons == ("not_a_lesion",)
    assert answer.label is None


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_drawn_examples_get_a_label(
    decoder: Decoder, classifier: Classifier, example: Example
) -> None:
    answer = answer_photo((FOLDER / f"{example.name}.jpg").read_bytes(), decoder, classifier)
    assert answer.reasons == ()


def test_the_page_says_so_without_a_score(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_URI")
    cat = Path(skimage.__file__).with_name("data") / "chelsea.png"
    form = {"image": (cat.open("rb"), "cat.png")}
    page = make_client().post("/predict", data=form, headers=HTML).text
    assert "This photo cannot be judged" in page
    assert "does not look like a close-up of a skin spot" in page
    assert 'class="advice"' not in page
    assert "estimated probability" not in page


@pytest.mark.slow
@needs(ISIC2017_TEST_SQUARES)
def test_nearly_all_photos_of_lesions_get_a_label(decoder: Decoder, classifier: Classifier) -> None:
    photos = list_photos(ISIC2017_TEST_SQUARES)[::10]
    answers = [answer_photo(photo.read_bytes(), decoder, classifier) for photo in photos]
    assert len(answers) >= 59
    assert sum(answer.assessable for answer in answers) >= 0.95 * len(answers)


def test_it_is_small_and_says_how_good_it_is(embedded: Bundle) -> None:
    assert sum(file.stat().st_size for file in embedded.path.iterdir()) < 16_000_000
    datasets = {metric.dataset for metric in embedded.manifest.metrics if metric.name == "AUC"}
    assert "out-of-fold" in datasets
    assert any(name.startswith("test set ") for name in datasets)
