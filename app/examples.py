"""The page's example photos, which are drawn; `python -m app.examples` draws them again."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFilter

from processing.drawing import draw_photo

FOLDER = Path(__file__).with_name("static") / "examples"
_SIDE, _SMALL_SIDE = 640, 96


class Example(NamedTuple):
    """The arguments of `draw_photo`; with these seeds the embedded model accepts the result."""

    name: str
    seed: int
    irregular: bool


EXAMPLES = (Example("even", 54, False), Example("ragged", 31, True), Example("red", 54, True))


def draw_guides() -> dict[str, Image.Image]:
    """Draw what a photo should not be: taken from too far away, and blurred."""
    photo = Image.fromarray(draw_photo(31, _SIDE, irregular=True))
    skin = photo.crop((0, 0, _SIDE // 8, _SIDE // 8)).resize((1, 1), Image.Resampling.BOX)
    far = skin.resize((_SIDE, _SIDE))
    small = photo.resize((_SIDE // 4, _SIDE // 4), Image.Resampling.LANCZOS)
    at = 3 * _SIDE // 8
    round_ = Image.radial_gradient("L").resize(small.size).point(lambda level: 2 * (170 - level))
    far.paste(small, (at, at), round_)
    return {"far": far, "blurred": photo.filter(ImageFilter.GaussianBlur(_SIDE / 25))}


def write_examples(folder: Path) -> None:
    """Write each example as a JPEG photo and as a thumbnail, and the guides as thumbnails."""
    folder.mkdir(exist_ok=True)
    for example in EXAMPLES:
        photo = Image.fromarray(draw_photo(example.seed, _SIDE, irregular=example.irregular))
        photo.save(folder / f"{example.name}.jpg", quality=90)
        _write_small(photo, folder / f"{example.name}-small.webp")
    for name, guide in draw_guides().items():
        _write_small(guide, folder / f"{name}-small.webp")


def _write_small(photo: Image.Image, path: Path) -> None:
    small = photo.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.LANCZOS)
    small.save(path, quality=75, method=6)


if __name__ == "__main__":
    write_examples(FOLDER)
