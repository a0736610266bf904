"""Real images and metadata of ISIC, which are not ours to publish, beside the checkout."""

from pathlib import Path

import pytest

_DATA = Path(__file__).parents[2] / "shared/data"
METADATA = _DATA / "metadata"  # of the whole of ISIC 2019 and 2020, without images
ISIC2019_SQUARES = _DATA / "isic2019-256"
ISIC2019_ORIGINAL = _DATA / "isic2019-original"
ISIC2017_TEST_SQUARES = _DATA / "isic2017-test-256"
ISIC2020 = _DATA / "isic2020-512"
MILK10K = _DATA / "milk10k-256"


def needs(*folders: Path) -> pytest.MarkDecorator:
    """Skip the test where one of `folders` is absent."""
    absent = [folder.name for folder in folders if not folder.exists()]
    return pytest.mark.skipif(
        bool(absent), reason=f"ISIC's data are not published with the code: no {absent} in {_DATA}"
    )


def list_photos(folder: Path) -> list[Path]:
    """The photos of a folder in ISIC 2019's layout, by name."""
    return sorted((folder / "ISIC_2019_Training_Input").glob("*.jpg"))
