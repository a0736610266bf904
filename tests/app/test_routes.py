import base64
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flask.testing import FlaskClient
from PIL import Image, ImageFilter

from app.trust import list_records
from processing.bundle import Bundle
from processing.image import read_square
from tests.app.fixture_types import MakeBundle, MakeClient, Post
from tests.forms import HTML
from tests.isic import ISIC2019_ORIGINAL, list_photos, needs


def test_the_page_shows_the_form(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert 'type="file"' in page.text
    assert "This is not a diagnosis" in page.text


def test_predict_answers_in_json(post: Post, photo: bytes, served: Bundle) -> None:
    answer = post(photo)
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    (image,) = answer.get_json()["images"]
    threshold = served.manifest.choose(image["modality"]).in_force.threshold
    assert 0 <= image["probability"] <= 1
    assert image["threshold"] == threshold
    assert image["label"] == ("malignant" if image["probability"] >= threshold else "benign")
    assert image["assessable"] is True
    assert image["reasons"] == []


def test_the_answer_tells_which_model_gave_it(post: Post, photo: bytes, served: Bundle) -> None:
    model = post(photo).get_json()["model"]
    point = served.manifest.in_force
    assert model["version"] == served.manifest.version
    assert model["label"]["covers"] == served.manifest.label.covers
    assert model["sensitivity"]["value"] == point.sensitivity.value
    assert model["specificity"]["value"] == point.specificity.value
    for kind, evidence in served.manifest.modalities.items():
        assert model["modalities"][kind]["threshold"] == evidence.in_force.threshold
        assert model["modalities"][kind]["measured_on"] == evidence.in_force.measured_on


def test_the_page_quotes_the_figures_of_the_photos_kind(
    post: Post, photo: bytes, served: Bundle
) -> None:
    (image,) = post(photo).get_json()["images"]
    names = {
        "dermoscopic": "Photos through a dermatoscope",
        "close-up": "Photos without a dermatoscope",
    }
    page = post(photo, headers={"Accept": "text/html"}).text
    evidence = served.manifest.choose(image["modality"])
    assert evidence != served.manifest.choose(None)
    held_out = list_records(served.manifest, image["modality"])[-1]
    assert f"{held_out.images} images" in evidence.in_force.measured_on
    assert f"({held_out.images:,}, of them {held_out.positives:,} of melanoma)" in page
    assert {kind: name in page for kind, name in names.items()} == {
        kind: kind == image["modality"] for kind in names
    }


def test_the_probability_is_the_graphs_for_the_pixels_of_the_cut(
    post: Post, photo: bytes, served: Bundle
) -> None:
    wanted = served.manifest.input
    square = read_square(photo, **wanted.model_dump())
    graph = Interpreter(str(served.model_path)).get_signature_runner("serve")
    (image,) = post(photo).get_json()["images"]
    expected = graph(images=square.pixels[np.newaxis])["probability"][0]
    assert image["probability"] == pytest.approx(expected, abs=1e-6)


def test_predict_answers_with_the_page(post: Post, photo: bytes, served: Bundle) -> None:
    page = post(photo, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert re.search("Looks suspicious|Melanoma cannot be ruled out|Low score", page.text)
    assert "no sign" not in page.text.lower()
    assert "threshold" in page.text
    assert "This is not a diagnosis" in page.text
    assert served.manifest.version[:12] in page.text


def test_the_page_shows_the_square_that_the_model_saw(
    post: Post, photo: bytes, served: Bundle
) -> None:
    page = post(photo, headers={"Accept": "text/html"}).text
    (encoded,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    shown = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert shown.size == (served.manifest.input.size,) * 2


def test_a_photo_that_is_too_small_gets_no_label(post: Post, small_photo: bytes) -> None:
    (image,) = post(small_photo).get_json()["images"]
    assert image["assessable"] is False
    assert image["reasons"] == ["too_small"]
    assert image["label"] is image["probability"] is image["heatmap"] is None
    page = post(small_photo, headers={"Accept": "text/html"})
    assert "cannot be judged" in page.text
    assert "Suspicious" not in page.text


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (lambda p: p.filter(ImageFilter.GaussianBlur(8)), "blurred", "It is blurred"),
        (lambda p: p.point(lambda value: value // 10), "too_dark", "It is too dark"),
    ],
)
def test_a_poor_photo_gets_a_reason_and_advice(
    post: Post, photo: bytes, change: Callable[[Image.Image], Image.Image], reason: str, says: str
) -> None:
    file = io.BytesIO()
    change(Image.open(io.BytesIO(photo))).save(file, "PNG")
    (image,) = post(file.getvalue()).get_json()["images"]
    assert image["reasons"] == [reason]
    assert image["label"] is image["probability"] is None
    assert says in post(file.getvalue(), headers={"Accept": "text/html"}).text


def test_several_photos_are_answered_in_order(post: Post, photo: bytes, small_photo: bytes) -> None:
    first, second = post(photo, small_photo).get_json()["images"]
    assert first["assessable"] is True
    assert second["assessable"] is False


def test_a_bad_photo_among_several_spoils_only_its_own_entry(post: Post, photo: bytes) -> None:
    answer = post(b"no image", photo)
    assert answer.status_code == 200
    bad, good = answer.get_json()["images"]
    assert bad["error"]["type"] == "/problems/image-unsupported"
    assert bad["error"]["status"] == 415
    assert good["assessable"] is True
    page = post(b"no image", photo, headers={"Accept": "text/html"}).text
    assert "Not a photo we can read" in page


def test_the_model_page_shows_version_and_card(client: FlaskClient, served: Bundle) -> None:
    page = client.get("/model", headers=HTML).text
    assert served.manifest.version in page
    assert "<h2>Licence</h2>" in page


def test_the_model_page_does_not_obey_html_in_a_card(
    make_client: MakeClient, make_bundle: MakeBundle
) -> None:
    card = b"# Card\n\n<script>alert(1)</script>\n"
    bundle = make_bundle(files={"MODEL_CARD.md": card})
    page = make_client(model_uri=str(bundle.path)).get("/model", headers=HTML).text
    assert "<script>alert" not in page


def test_the_manifest_is_given_as_json(client: FlaskClient, served: Bundle) -> None:
    answer = client.get("/model", headers={"Accept": "application/json"})
    assert answer.json == served.manifest.model_dump(mode="json")


def test_health_and_readiness(client: FlaskClient, served: Bundle) -> None:
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert served.manifest.version in ready.text


@needs(ISIC2019_ORIGINAL)
def test_real_photos_get_answers(post: Post) -> None:
    photos = list_photos(ISIC2019_ORIGINAL)[:10]
    # One by one: for a form of over 500 kB werkzeug's client opens a file, and leaves it open.
    images = [post(photo.read_bytes()).get_json()["images"][0] for photo in photos]
    judged = [image for image in images if image["assessable"]]
    assert len(judged) >= 9  # a few lesions in a hundred are rejected as not a lesion
    assert all(image["label"] in ("malignant", "benign") for image in judged)
