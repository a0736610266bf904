"""Pictures that show no lesion: photos that come with Python packages, and drawn pictures."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import skimage
import sklearn
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_PHOTOS = (
    Path(skimage.__file__).with_name("data"),
    Path(sklearn.__file__).with_name("datasets") / "images",
    Path(matplotlib.__file__).with_name("mpl-data") / "sample_data",
)
_FACES = _PHOTOS[0] / "lfw_subset.npy"  # 100 small grey faces, then 100 patches without one
_FACE_SIDE = 250
_CROP = 0.6  # side of the corner crops, as a fraction of the photo's shorter side
_SIDE = 400  # pixels, of a drawn picture
_COLOURS = (
    "black", "white", "grey", "red", "lime", "blue",
    # skin, light to dark, and clothes
    "#ffdbac", "#f1c27d", "#e0ac69", "#c68642", "#8d5524", "#5c3a21", "#f0c8be", "#b4786e",
)  # fmt: skip


class Picture(NamedTuple):
    """One picture, and the photo that it is cut from: crops of one photo are counted together."""

    origin: str
    kind: str
    image: Image.Image


def list_nonlesions() -> list[Picture]:
    """List all pictures: each photo, the corners of large photos, and drawn pictures."""
    photos = [
        Picture(path.name, "photos", Image.open(path).convert("RGB"))
        for folder in _PHOTOS
        for path in sorted(folder.iterdir())
        if path.suffix in (".png", ".jpg")
    ]
    faces = np.load(_FACES)[:100:5]
    photos += [
        Picture(f"face {i}", "faces", _enlarge(np.rint(face * 255).astype(np.uint8)))
        for i, face in enumerate(faces)
    ]
    cropped = [
        Picture(photo.origin, photo.kind, image) for photo in photos for image in _crop(photo.image)
    ]
    return [*cropped, *_draw()]


def _enlarge(pixels: NDArray[np.uint8]) -> Image.Image:
    return (
        Image.fromarray(pixels).convert("RGB").resize((_FACE_SIDE,) * 2, Image.Resampling.BICUBIC)
    )


def _crop(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    yield image
    side = int(_CROP * min(width, height))
    if side > _FACE_SIDE / 2:
        for left, top in ((0, 0), (width - side, 0), (width - side, height - side)):
            yield image.crop((left, top, left + side, top + side))


def _draw() -> Iterator[Picture]:
    rng = np.random.default_rng(0)
    shape = (_SIDE, _SIDE)
    for colour in _COLOURS:
        yield Picture(colour, "one colour", Image.new("RGB", shape, colour))
    for i in range(6):
        coloured = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        yield Picture(f"noise {i}", "noise", Image.fromarray(coloured))
        grey = rng.integers(0, 256, shape, dtype=np.uint8)
        yield Picture(f"grey noise {i}", "noise", Image.fromarray(grey).convert("RGB"))
        grain = np.clip(rng.normal((200, 150, 130), 12, (*shape, 3)), 0, 255).astype(np.uint8)
        yield Picture(f"grain {i}", "noise", Image.fromarray(grain))
        blots = np.clip(rng.normal(128, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
        blurred = Image.fromarray(blots).resize(shape, Image.Resampling.BICUBIC)
        yield Picture(f"blots {i}", "noise", blurred)
        yield Picture(f"text {i}", "text", _draw_text(rng, 12 + 6 * i, dark=i % 2 == 1))
        yield Picture(f"screen {i}", "screens", _draw_screen(rng, i))


def _draw_text(rng: np.random.Generator, points: int, *, dark: bool) -> Image.Image:
    paper, ink = ("black", "lime") if dark else ("white", "black")
    image = Image.new("RGB", (_SIDE, _SIDE), paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(points)
    for top in range(0, _SIDE, points + 4):
        line = "".join(rng.choice(list("abcdefghi jklmn opqr stuvw xyz ABC 0123"), 80))
        draw.text((5, top), line, fill=ink, font=font)
    return image


def _draw_screen(rng: np.random.Generator, i: int) -> Image.Image:
    """Draw a plot, as in a screenshot."""
    figure = Figure(figsize=(_SIDE / 100, _SIDE / 100), dpi=100)
    axes = figure.subplots()
    if i % 2:
        axes.plot(rng.normal(size=(50, i)).cumsum(axis=0))
    else:
        axes.imshow(rng.normal(size=(20, 20)))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
