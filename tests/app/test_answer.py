from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.answer import answer_photo
from app.classifier import Classifier
from processing.bundle import Bundle
from processing.decoding.decoder import Decoder
from processing.image import PIXEL_PATHS, read_square
from processing.manifest import PixelPath
from processing.refusals import ImageError
from tests.app.fixture_types import MakeBundle


@pytest.fixture
def classifier(served: Bundle) -> Classifier:
    return Classifier(served, threads=1)


def test_a_photo_is_judged_by_the_square_that_training_cut_too(
    decoder: Decoder, classifier: Classifier, photo: bytes
) -> None:
    wanted = classifier.manifest.input
    square = read_square(photo, **wanted.model_dump())
    answer = answer_photo(photo, decoder, classifier)
    assert np.array_equal(answer.square, square.pixels)
    (prediction,) = classifier.classify(square.pixels[np.newaxis])
    assert answer.probability == prediction.probability
    assert answer.assessable


@pytest.mark.parametrize("pixel_path", PIXEL_PATHS)
def test_a_photo_takes_the_pixel_path_of_its_model(
    decoder: Decoder, make_bundle: MakeBundle, photo: bytes, pixel_path: PixelPath
) -> None:
    changes = {"pixel_path": pixel_path, "crop_fraction": 0.6}
    wanted = make_bundle("any").manifest.input.model_copy(update=changes)
    squares = {
        path: read_square(
            photo, size=wanted.size, crop_fraction=wanted.crop_fraction, pixel_path=path
        ).pixels
        for path in PIXEL_PATHS
    }
    classifier = Classifier(make_bundle(input=wanted), threads=1)
    for path, square in squares.items():
        same = np.array_equal(answer_photo(photo, decoder, classifier).square, square)
        assert same == (path == pixel_path)


def test_half_of_the_models_size_is_enough_and_less_is_not(
    decoder: Decoder, make_bundle: MakeBundle
) -> None:
    manifest_input = {"size": make_bundle("size").manifest.input.size, "crop_fraction": 0.5}
    classifier = Classifier(make_bundle(input=manifest_input), threads=1)
    enough = classifier.manifest.input.size  # half of it is cut
    for side, assessable in ((enough, True), (enough - 1, False)):
        file = BytesIO()
        Image.new("RGB", (side, side + 50), "tan").save(file, "PNG")
        assert answer_photo(file.getvalue(), decoder, classifier).assessable is assessable


def test_what_is_no_photo_is_refused(decoder: Decoder, classifier: Classifier) -> None:
    with pytest.raises(ImageError):
        answer_photo(b"no image", decoder, classifier)
