"""The square that the page cuts from a photo: suggested, moved, turned, sent."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from app.answer import answer_photo
from app.classifier import Classifier
from processing.bundle import Bundle
from processing.decoding.decoder import Decoder
from processing.drawing import draw_photo
from tests.app.browser import ANSWER, choose
from tests.app.fixture_types import OpenPage, StartServer
from tests.isic import ISIC2019_ORIGINAL, list_photos, needs


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> str:
    """The app as `make run` starts it, with its check for photos without a lesion."""
    return start_server()


class Frame(NamedTuple):
    """A photo of more skin than the spot, and where the spot is: its centre and size, pixels."""

    photo: Image.Image
    x: float
    y: float
    size: float


def set_in_skin(lesion: Image.Image, share: float, seed: int) -> Frame:
    """Set a square photo into a frame of skin of its own rim, of which it has `share` the width."""
    rng = np.random.default_rng(seed)
    side = lesion.width
    width, height = round(side / share), round(0.75 * side / share)
    pixels = np.asarray(lesion).astype(float)
    patch = find_skin(pixels)
    skin = np.median(patch, axis=(0, 1))
    more = ((0, height - len(patch)), (0, width - len(patch)), (0, 0))
    grain = np.pad(patch - patch.mean(axis=(0, 1)), more, mode="symmetric")
    light = np.linspace(1.05, 0.95, width)[np.newaxis, :, np.newaxis]  # from one side
    frame = (skin + 0.4 * grain) * light
    x = int(rng.integers(width // 10, 9 * width // 10 - side))
    y = int(rng.integers(0, height - side))
    away = np.hypot(*np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j])
    inside = np.clip((1 - away) / 0.25, 0, 1)[..., np.newaxis]
    frame[y : y + side, x : x + side] *= 1 - inside
    frame[y : y + side, x : x + side] += inside * pixels * light[:, x : x + side]
    photo = Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8))
    return Frame(photo, x + side / 2, y + side / 2, side)


def find_skin(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The patch of the rim that is most like all of the rim: no hair, no vignette."""
    side = len(pixels) // 8
    starts = range(0, len(pixels) - side + 1, side)
    rim = [
        pixels[y : y + side, x : x + side]
        for y in starts
        for x in starts
        if {y, x} & {0, starts[-1]}
    ]
    usual = np.median([patch.mean(axis=(0, 1)) for patch in rim], axis=0)
    return min(
        rim, key=lambda p: np.abs(p.mean(axis=(0, 1)) - usual).sum() + p.std(axis=(0, 1)).sum()
    )


def save(photo: Image.Image, path: Path, **options: Any) -> Path:
    photo.save(path, **options)
    return path


def spy(page: Page) -> None:
    """Keep what the page sends."""
    page.evaluate("""() => {
        const send = XMLHttpRequest.prototype.send;
        XMLHttpRequest.prototype.send = function (form) {
            window.sent = form.get("image");
            return send.call(this, form);
        };
    }""")


def read_sent(page: Page) -> bytes:
    encoded: str = page.evaluate("""async () => {
        const bytes = new Uint8Array(await window.sent.arrayBuffer());
        return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
    }""")
    return base64.b64decode(encoded)


def cut(page: Page, path: Path) -> bytes:
    """Choose a photo, touch nothing, send it; return what was sent."""
    choose(page, path)
    expect(page.locator("#stage")).to_be_visible()
    page.locator("#send").click()
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#result h2:visible").first).to_be_visible()
    content = read_sent(page)
    if page.locator("#clear").is_visible():
        page.locator("#clear").click()
    return content


def open_image(content: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)


def test_the_square_is_laid_over_a_small_spot(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    spy(page)
    lesion = Image.fromarray(draw_photo(31, 300, irregular=True))
    frame = set_in_skin(lesion, 0.1, seed=1)
    path = save(frame.photo, tmp_path / "far.png")
    sent = open_image(cut(page, path))
    assert frame.size < sent.shape[0] == sent.shape[1] < 3 * frame.size
    expect_spot_in_the_middle(sent)
    # On request it is laid more closely.
    choose(page, path)
    page.get_by_role("button", name="Suggest").click()
    page.locator("#send").click()
    expect(page.locator("#progress")).to_be_hidden()
    closer = open_image(read_sent(page))
    assert 0.5 * frame.size < closer.shape[0] < 1.5 * frame.size
    expect_spot_in_the_middle(closer)


def expect_spot_in_the_middle(sent: NDArray[np.float64]) -> None:
    """The middle is darker than the skin at the rim."""
    fifth = len(sent) // 5
    middle = sent[2 * fifth : 3 * fifth, 2 * fifth : 3 * fifth]
    assert np.median(middle) < 0.8 * np.median(sent[: fifth // 3])


@needs(ISIC2019_ORIGINAL)
@pytest.mark.parametrize("share", [0.4, 0.2])
def test_nine_in_ten_real_spots_in_much_skin_are_answered_without_a_touch(
    open_page: OpenPage, embedded: Bundle, decoder: Decoder, tmp_path: Path, share: float
) -> None:
    classifier = Classifier(embedded, threads=1)
    page = open_page()
    spy(page)
    answered = {False: 0, True: 0}  # as the photo is, and as the page cuts it
    tried = 0
    for i, path in enumerate(list_photos(ISIC2019_ORIGINAL)[::16]):
        if not answer_photo(path.read_bytes(), decoder, classifier).assessable:
            continue
        with Image.open(path) as photo:
            side = min(photo.size)
            left, top = (photo.width - side) // 2, (photo.height - side) // 2
            square = photo.crop((left, top, left + side, top + side)).resize((400, 400))
        far = save(set_in_skin(square, share, seed=i).photo, tmp_path / f"{i}.jpg", quality=92)
        tried += 1
        answered[False] += answer_photo(far.read_bytes(), decoder, classifier).assessable
        answered[True] += answer_photo(cut(page, far), decoder, classifier).assessable
    assert tried > 18
    assert answered[True] >= 0.9 * tried > answered[False]


def test_a_photo_that_the_spot_fills_is_sent_as_it_is_but_for_what_it_tells(
    open_page: OpenPage, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    exif[0x010F] = "a maker that nobody is to know"
    drawn = Image.fromarray(draw_photo(1, 640, irregular=True)).resize((1600, 1200))
    path = save(drawn, tmp_path / "own.jpg", quality=92, exif=exif, comment=b"a patient's name")
    page = open_page()
    spy(page)
    content = cut(page, path)
    assert b"a maker" in path.read_bytes()
    assert b"a maker" not in content
    assert b"patient" not in content
    sent, own = (Image.open(io.BytesIO(data)) for data in (content, path.read_bytes()))
    assert sent.getexif() == {0x0112: 6}
    assert np.array_equal(np.asarray(sent), np.asarray(own))


def test_a_cut_is_sent_with_at_most_1024_pixels(open_page: OpenPage, tmp_path: Path) -> None:
    path = save(
        Image.fromarray(draw_photo(1, 640, irregular=True)).resize((3000, 2400)),
        tmp_path / "large.jpg",
        quality=95,
    )
    page = open_page()
    spy(page)
    choose(page, path)
    page.get_by_role("button", name="Turn").click()  # so that it is drawn anew
    page.locator("#send").click()
    expect(page.locator("#result .answer")).to_have_count(1)
    sent = open_image(read_sent(page))
    assert sent.shape == (800, 800, 3)  # a third of 2400
    with Image.open(path) as photo:
        square = photo.crop((300, 0, 2700, 2400)).resize((800, 800), Image.Resampling.BOX)
    assert np.abs(sent - np.rot90(np.asarray(square).astype(float), -1)).mean() < 2


def test_the_square_is_moved_and_sized_with_mouse_keyboard_and_slider(
    open_page: OpenPage, tmp_path: Path
) -> None:
    # Four colours, so that the colour of what is sent tells where it was cut.
    quarters = np.zeros((400, 400, 3), np.uint8)
    quarters[:200, 200:] = (250, 0, 0)
    quarters[200:, :200] = (0, 250, 0)
    quarters[200:, 200:] = (0, 0, 250)
    path = save(Image.fromarray(quarters), tmp_path / "quarters.png")
    page = open_page(viewport={"width": 800, "height": 900})
    choose(page, path)
    stage, size = page.locator("#stage"), page.get_by_label("Size")
    expect(stage).to_be_visible()
    size.fill("20")
    box = stage.bounding_box()
    assert box
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] + box["width"] / 4, at[1] - box["height"] / 4, steps=4)
    page.mouse.up()
    assert read_colour(page) == (250, 0, 0)
    stage.focus()
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    assert read_colour(page) == (0, 0, 250)
    before = float(size.input_value())
    page.keyboard.press("+")
    assert float(size.input_value()) > before
    # A tap beside the square brings it there.
    page.mouse.click(box["x"] + box["width"] / 8, box["y"] + 7 * box["height"] / 8)
    assert read_colour(page) == (0, 250, 0)
    page.get_by_role("button", name="As large as possible").click()
    assert float(size.input_value()) == 100


def read_colour(page: Page) -> tuple[int, ...]:
    """In the middle of the preview of what is sent."""
    colour: list[int] = page.locator(".edit canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(80, 80, 1, 1).data]"
    )
    return tuple(colour[:3])


def test_a_refused_photo_comes_back_with_the_square(
    open_page: OpenPage, small_photo: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "small.jpg"
    path.write_bytes(small_photo)
    page = open_page()
    choose(page, path)
    page.locator("#send").click()
    expect(page.locator("#result h2:visible").first).to_have_text("This photo cannot be judged")
    expect(page.locator("#stage")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Lay the square closely around the spot")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "AVIF"])
def test_what_the_browser_can_draw_is_sent_as_jpeg(
    open_page: OpenPage, photo: bytes, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    Image.open(io.BytesIO(photo)).save(path, kind)
    page = open_page()
    spy(page)
    content = cut(page, path)
    assert content.startswith(b"\xff\xd8\xff")
    expect(page.locator("#result .answer h2")).to_have_text(ANSWER)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused_whatever_its_size(
    open_page: OpenPage, tmp_path: Path, kind: str
) -> None:
    frames = [Image.fromarray(draw_photo(i, 300)).resize((2600, 1400)) for i in range(2)]
    path = tmp_path / f"moving.{kind.lower()}"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=100)
    page = open_page()
    choose(page, path)
    expect(page.locator("#previews")).to_contain_text("An animation")
    page.locator("#send").click()
    expect(page.get_by_role("status")).to_contain_text("The image is animated")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#send")).to_be_enabled()
