"""The page's example photos, which are drawn; `python -m app.examples` draws them again."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from processing.drawing import draw_photo

FOLDER = Path(__file__).with_name("static") / "examples"
_SIDE, _SMALL_SIDE = 640, 96


class Example(NamedTuple):
    """The arguments of `draw_photo`; with these seeds the embedded model accepts the result."""

    name: str
    seed: int
    irregular: bool


EXAMPLES = (Example("even", 54, False), Example("ragged", 31, True), Example("red", 54, True))


def write_examples(folder: Path) -> None:
    """Write each example as a JPEG photo and as a thumbnail."""
    folder.mkdir(exist_ok=True)
    for example in EXAMPLES:
        photo = Image.fromarray(draw_photo(example.seed, _SIDE, irregular=example.irregular))
        photo.save(folder / f"{example.name}.jpg", quality=90)
        small = photo.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.LANCZOS)
        small.save(folder / f"{example.name}-small.jpg", quality=80)


if __name__ == "__main__":
    write_examples(FOLDER)
