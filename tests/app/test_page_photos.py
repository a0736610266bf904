"""Ways to give the page photos, in a real browser against a real server."""

import base64
import io
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import JSHandle, Page, expect

from tests.app.browser import ANSWER, choose, expect_answer, send
from tests.app.fixture_types import OpenPage, Post


def make_transfer(page: Page, kind: str, name: str, content: bytes) -> JSHandle:
    """What the browser hands over when a file is dropped or pasted."""
    return page.evaluate_handle(
        """([encoded, type, name]) => {
            const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type}));
            return transfer;
        }""",
        [base64.b64encode(content).decode(), kind, name],
    )


def test_a_chosen_photo_is_previewed_and_answered(
    open_page: OpenPage, photo_file: Path, photo: bytes, post: Post
) -> None:
    page = open_page()
    choose(page, photo_file)
    expect(page.get_by_role("img", name="photo.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)
    expect(page.locator("#result")).to_be_focused()
    expect(page.locator("#previews li")).to_have_count(0)
    expect(page.locator("#result .file").first).to_have_text("photo.jpg")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_dropped_or_pasted_photo_is_answered(
    open_page: OpenPage, photo: bytes, post: Post, way: str
) -> None:
    page = open_page()
    transfer = make_transfer(page, "image/jpeg", "handed.jpg", photo)
    if way == "drop":
        page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    else:
        page.evaluate(
            """clipboardData => document.body.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData, bubbles: true}))""",
            transfer,
        )
    expect(page.get_by_role("img", name="handed.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_a_phone_offers_its_camera(
    open_page: OpenPage, photo_file: Path, photo: bytes, post: Post
) -> None:
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    expect(page.get_by_text("Take a photo")).to_be_visible()
    page.locator("#camera").set_input_files(photo_file)
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_a_drawn_example_can_be_tried(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("link", name="ragged spot").click()
    expect(page.get_by_role("img", name="ragged.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator(".answer h2")).to_have_text(ANSWER)


def test_a_photo_can_be_taken_back(open_page: OpenPage, photo_file: Path) -> None:
    page = open_page()
    choose(page, photo_file, photo_file)
    expect(page.locator("#previews li")).to_have_count(2)
    page.get_by_role("button", name="Remove photo.jpg").first.click()
    expect(page.locator("#previews li")).to_have_count(1)
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#previews li")).to_have_count(0)


def test_a_sideways_photo_is_judged_and_shown_upright(
    open_page: OpenPage, photo: bytes, tmp_path: Path
) -> None:
    upright = Image.open(io.BytesIO(photo))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = tmp_path / "sideways.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(sideways, exif=exif)
    straight = tmp_path / "straight.png"
    upright.save(straight)
    page = open_page()
    send(page, sideways, straight)
    squares = page.locator(".answer .square img:first-child")
    expect(squares).to_have_count(2)
    first, second = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source[23:])))).astype(float)
        for source in (each.get_attribute("src") or "" for each in squares.all())
    )
    # They are compressed before they are turned.
    assert np.abs(first - second).mean() < 3 < np.abs(np.rot90(first) - second).mean()
    probabilities = [
        float(each.get_attribute("data-probability") or "nan")
        for each in page.locator(".answer").all()
    ]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.03)


def test_heic_has_no_preview_and_an_answer(
    open_page: OpenPage, photo: bytes, tmp_path: Path
) -> None:
    pillow_heif.register_heif_opener()
    heic = tmp_path / "photo.heic"
    Image.open(io.BytesIO(photo)).save(heic, "HEIF", quality=95)
    page = open_page()
    choose(page, heic)
    expect(page.locator("#previews")).to_contain_text(
        "No preview here, but the photo can be analysed."
    )
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator(".answer h2")).to_have_text(ANSWER)
