import base64
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from etils import epath
from PIL import Image

from tests.training.html_page import Page
from tests.training.kaggle_sets import write_kaggle_set
from training.__main__ import main
from training.data.folder import Data, read_data
from training.errors import TrainingError
from training.inspect.sheets import make_augmented_sheet, make_contact_sheets
from training.recipe import Augmentation, parse_strengths

DRAWS = 32
TURNED_OFF = [
    "rotation_degrees=0", "shear_degrees=0", "zoom=0", "shift=0", "flips=false",
    "brightness=0", "contrast=0", "saturation=0",
]  # fmt: skip


def pixels(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return np.asarray(image, np.int16)


def inspect(folder: epath.Path, out: Path, *options: str) -> Page:
    """Run the command, and read the page that it writes."""
    command = ["inspect", str(folder), "--out", str(out / "page.html"), *options]
    CliRunner().invoke(main, command, catch_exceptions=False)
    return Page((out / "page.html").read_text(encoding="utf-8"))


def test_the_first_positive_is_shown_and_then_different_variants_of_it(read: Data) -> None:
    sheet = make_augmented_sheet(read, Augmentation())
    first = make_contact_sheets(read)["Some positives"].iloc[0]
    assert (sheet.image_name, sheet.uris[0]) == (first["image_name"], first["uri"])
    assert len(set(sheet.uris)) == len(sheet.uris) == 1 + DRAWS
    assert {pixels(uri).shape for uri in sheet.uris} == {(64, 64, 3)}


def test_all_strengths_at_zero_leave_the_image(read: Data) -> None:
    sheet = make_augmented_sheet(read, Augmentation(**parse_strengths(TURNED_OFF)))
    as_it_is = pixels(sheet.uris[0])
    for uri in sheet.uris[1:]:
        assert np.abs(pixels(uri) - as_it_is).max() <= 1


def test_each_change_that_training_can_make_is_shown(read: Data) -> None:
    off = parse_strengths(TURNED_OFF)
    for name in ("aspect", "downscale", "blur", "jpeg", "vignette", "mixup"):
        strength = off | parse_strengths([f"{name}={0.1 if name == 'blur' else 0.9}"])
        uris = make_augmented_sheet(read, Augmentation(**strength)).uris
        assert len(set(uris)) > 8, name


def test_a_chosen_image_is_shown(read: Data) -> None:
    name = read.cases["image_name"].iloc[-1]
    sheet = make_augmented_sheet(read, Augmentation(), name)
    assert sheet.image_name == name
    assert sheet.uris[0] != make_augmented_sheet(read, Augmentation()).uris[0]


def test_an_image_that_is_not_in_the_data_is_refused(read: Data) -> None:
    with pytest.raises(TrainingError, match="--image ISIC_1: .* has no such image.*DRAWN_0000000"):
        make_augmented_sheet(read, Augmentation(), "ISIC_1")


def test_inspect_adds_the_sheet_and_its_strengths(data: epath.Path, tmp_path: Path) -> None:
    page = inspect(data, tmp_path, "--augmented", "--augment", "cutout=0.3", "--augment", "zoom=0")
    assert page.tags["img"] == 48 + 1 + DRAWS
    assert "zoom: 0.0, shift: 0.05" in page.text
    assert "cutout: 0.3" in page.text
    assert page.words.count("original") == 1


def test_inspect_shows_no_such_sheet_by_default(data: epath.Path, tmp_path: Path) -> None:
    assert inspect(data, tmp_path).tags["img"] == 48


def test_a_public_kaggle_set_is_augmented_too(tmp_path: Path) -> None:
    folder = epath.Path(write_kaggle_set(tmp_path / "melanoma-32x32", 12, 32))
    name = read_data(folder).cases["image_name"].iloc[5]
    page = inspect(folder, tmp_path, "--augmented", "--image", name)
    assert page.tags["img"] == 12 + 1 + DRAWS
    assert f"{name} under augmentation" in page.words


def test_strengths_are_numbers_and_switches_by_name() -> None:
    assert parse_strengths(("zoom=0.2", "flips=no")) == {"zoom": 0.2, "flips": False}
    assert parse_strengths(()) == {}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("zoom", "--augment zoom: give NAME=VALUE"),
        ("zom=1", "--augment zom: no such strength. There are rotation_degrees, .*cutout"),
        ("zoom=2", "--augment zoom=2: Input should be less than 1"),
        ("zoom=much", "--augment zoom=much: Input should be a valid number"),
    ],
)
def test_an_invalid_strength_is_named(given: str, complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        parse_strengths(("shift=0.1", given))
