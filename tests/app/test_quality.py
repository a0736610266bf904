import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.quality import Fault, find_faults, measure_sharpness
from processing.drawing import draw_photo
from processing.image import read_square
from tests.isic import ISIC2019_ORIGINAL, list_photos, needs

Square = NDArray[np.uint8]

SIZE = 224


def blur(square: Square, sigma: float) -> Square:
    return np.asarray(Image.fromarray(square).filter(ImageFilter.GaussianBlur(sigma)))


@pytest.fixture(scope="module")
def lesions() -> list[Square]:
    photos = list_photos(ISIC2019_ORIGINAL)[::3]
    return [read_square(p.read_bytes(), size=SIZE, crop_fraction=0.6).pixels for p in photos]


def judge(square: Square) -> tuple[Fault, ...]:
    return find_faults(square, 1000, 1000, 0.6)


@needs(ISIC2019_ORIGINAL)
def test_real_photos_have_no_fault(lesions: list[Square]) -> None:
    assert len(lesions) > 100
    assert sum(judge(square) != () for square in lesions) <= 0.01 * len(lesions)


@needs(ISIC2019_ORIGINAL)
def test_nearly_all_are_blurred_once_they_are_blurred(lesions: list[Square]) -> None:
    blurred = [judge(blur(square, 0.01 * SIZE)) == ("blurred",) for square in lesions]
    assert np.mean(blurred) > 0.95


def test_a_night_photo_is_too_dark() -> None:
    square = draw_photo(1, SIZE)
    assert judge(square) == ()
    assert judge((square * 0.1).astype(np.uint8)) == ("too_dark",)


def test_less_than_half_of_the_models_size_is_too_small() -> None:
    square = draw_photo(1, SIZE)
    assert find_faults(square, 112, 500, 1.0) == ()
    assert find_faults(square, 500, 111, 1.0) == ("too_small",)
    assert find_faults(square, 223, 223, 0.5) == ("too_small",)


def test_sharpness_does_not_depend_on_light_or_contrast() -> None:
    bright = Image.fromarray(draw_photo(1, SIZE)).convert("L")
    dim = bright.point(lambda level: 60 + 0.4 * level)
    assert measure_sharpness(dim) == pytest.approx(measure_sharpness(bright), 0.05)


def test_a_single_colour_is_not_called_blurred() -> None:
    assert judge(np.full((SIZE, SIZE, 3), 200, np.uint8)) == ()
