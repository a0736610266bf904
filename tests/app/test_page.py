"""The page in a real browser against a real server."""

import re
from pathlib import Path

import pytest
import skimage
from playwright.sync_api import Browser, Page, expect

from app.languages import LANGUAGES
from tests.app.browser import ANSWER, choose, expect_answer, send
from tests.app.fixture_types import OpenPage, Post, StartServer
from tests.isic import ISIC2019_ORIGINAL, list_photos, needs


def test_the_heatmap_is_off_at_first_and_can_be_made_weaker(
    open_page: OpenPage, photo_file: Path
) -> None:
    page = open_page()
    send(page, photo_file)
    heatmap = page.locator("img.heatmap")
    expect(heatmap).to_have_css("opacity", "0")
    page.get_by_label("Show what the score is based on").check()
    expect(heatmap).to_have_css("opacity", "1")
    page.get_by_label("Strength of the colours").fill("40")
    expect(heatmap).to_have_css("opacity", "0.4")
    page.get_by_label("Strength of the colours").fill("100")
    page.get_by_label("Show what the score is based on").uncheck()
    expect(heatmap).to_have_css("opacity", "0")


def test_several_photos_are_answered_together(
    open_page: OpenPage, photo_file: Path, small_photo: bytes, tmp_path: Path
) -> None:
    small = tmp_path / "small.jpg"
    small.write_bytes(small_photo)
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, photo_file, small, text)
    cards = page.locator("#result .answer, #result .problem")
    expect(cards.nth(0).locator("h2")).to_have_text(ANSWER)
    expect(cards.nth(1).locator("h2")).to_have_text("This photo cannot be judged")
    expect(cards.nth(2).locator("h2")).to_have_text("Not a photo we can read")
    for i, name in enumerate(("photo.jpg", "small.jpg", "text.jpg")):
        expect(cards.nth(i).locator(".file")).to_have_text(name)


def test_a_bad_file_shows_why_and_keeps_the_choice(open_page: OpenPage, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")
    expect(page.locator("#previews")).to_contain_text("text.jpg")


def test_too_large_a_photo_is_told_before_it_is_sent(open_page: OpenPage, tmp_path: Path) -> None:
    large = tmp_path / "large.heic"
    large.write_bytes(bytes(21_000_000))
    page = open_page()
    send(page, large)
    expect(page.get_by_role("status")).to_contain_text("large.heic has 21 MB, but at most 20 MB")


def test_nothing_chosen_is_told(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("status")).to_have_text("Choose a photo first.")


def test_without_javascript_the_same_answer_comes(
    open_page: OpenPage, photo_file: Path, photo: bytes, post: Post
) -> None:
    page = open_page(java_script_enabled=False)
    send(page, photo_file)
    expect_answer(page, post, photo)
    expect(page.get_by_role("button", name="Download as CSV")).to_be_hidden()
    page.get_by_text("How far you can trust this").click()
    page.get_by_role("link", name="version").click()
    expect(page.get_by_role("heading", name="About the model")).to_be_visible()


def test_without_javascript_several_photos_get_their_table(
    open_page: OpenPage, photo_file: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page(java_script_enabled=False)
    send(page, photo_file, text)
    expect(page.locator("#overview tbody tr")).to_have_count(2)
    expect(page.locator("#overview")).to_contain_text("Not a photo we can read")


def test_without_javascript_a_bad_file_shows_why(open_page: OpenPage, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page(java_script_enabled=False)
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")


def test_the_keyboard_is_enough(
    open_page: OpenPage, photo_file: Path, photo: bytes, post: Post
) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("#photos").focus()
    choose(page, photo_file)
    expect(page.get_by_role("button", name="Analyse")).to_be_focused()
    page.keyboard.press("Enter")
    expect_answer(page, post, photo)
    expect(page.locator("#result")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".heat-switch")).to_be_focused()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "button":
            break
    expect(page.get_by_role("link", name="Check another photo")).to_be_focused()


def weigh(page: Page, size: str) -> int:
    """The sum of a size, bytes, of all that was loaded."""
    page.wait_for_load_state("networkidle")
    weights: list[int] = page.evaluate(
        """size => ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind))
            .filter(entry => entry.name.startsWith("http")).map(entry => entry[size])""",
        size,
    )
    assert len(weights) >= 7  # the page, its style, two scripts, the examples
    return sum(weights)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_weighs_little(
    open_page: OpenPage, server: str, photo_file: Path, language: str
) -> None:
    page = open_page()
    page.goto(f"{server}/?lang={language}")
    page.mouse.wheel(0, 5000)
    assert weigh(page, "decodedBodySize") < 150_000
    choose(page, photo_file)
    expect(page.locator(".edit:not([disabled])")).to_be_visible()
    expect(page.locator("#cutter")).to_be_visible()
    assert weigh(page, "transferSize") < 75_000  # on the way, with headers


def measure_width(page: Page) -> int:
    """Of all that can be scrolled to, pixels; works without JavaScript too."""
    session = page.context.new_cdp_session(page)
    width: float = session.send("Page.getLayoutMetrics")["cssContentSize"]["width"]
    return round(width)


@pytest.mark.parametrize("path", ["/", "/model", "/docs", "/?lang=de"])
@pytest.mark.parametrize("script", [True, False])
def test_a_page_of_320_px_does_not_scroll_sideways(
    open_page: OpenPage, server: str, photo_file: Path, path: str, script: bool
) -> None:
    page = open_page(viewport={"width": 320, "height": 600}, java_script_enabled=script)
    page.goto(server + path)
    if path.startswith("/?") or path == "/":
        assert measure_width(page) <= 320
        send(page, photo_file, photo_file)
        expect(page.locator("#overview")).to_be_visible()
    assert measure_width(page) <= 320


@pytest.mark.parametrize("script", [True, False])
def test_a_long_name_does_not_widen_the_page(
    open_page: OpenPage, photo_file: Path, tmp_path: Path, small_photo: bytes, script: bool
) -> None:
    stem = "IMG_" + "0123456789" * 16
    files = [tmp_path / f"{stem}{i}.jpg" for i in range(4)]
    for file, content in zip(
        files, (photo_file.read_bytes(), small_photo, b"no image", bytes(9)), strict=True
    ):
        file.write_bytes(content)
    large = tmp_path / f"{stem}.heic"
    large.write_bytes(bytes(21_000_000))
    page = open_page(viewport={"width": 320, "height": 600}, java_script_enabled=script)
    if script:
        send(page, large)
        expect(page.get_by_role("status")).to_contain_text("has 21 MB")
        assert measure_width(page) <= 320
    for count in (1, len(files)):
        choose(page, *files[:count])
        assert measure_width(page) <= 320
        page.locator("#send").click()
        expect(page.locator("#result .answer").first).to_be_visible()
        expect(page.locator("#progress")).to_be_hidden()
        assert measure_width(page) <= 320
    expect(page.locator("#overview")).to_be_visible()
    if script:  # on a phone, a name has room beside the picture
        name = page.locator("#overview a.file").first.bounding_box()
        assert name
        assert name["width"] > 120
    wider = "cards => cards.filter(each => each.scrollWidth > each.clientWidth).length"
    if script:
        assert page.locator(".card:visible").evaluate_all(wider) == 0


def test_a_german_browser_gets_german(open_page: OpenPage, photo_file: Path) -> None:
    page = open_page(locale="de-DE")
    expect(page.get_by_role("heading", name="Einen Hautfleck prüfen")).to_be_visible()
    send(page, photo_file)
    heading = page.locator(".answer h2")
    expect(heading).to_have_text(
        re.compile("Sieht verdächtig aus|Melanom lässt sich nicht ausschließen|Niedriger Wert")
    )
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Check a skin spot")).to_be_visible()


def test_the_result_prints_on_one_page(
    open_page: OpenPage, photo_file: Path, tmp_path: Path
) -> None:
    page = open_page()
    send(page, photo_file)
    expect(page.locator(".answer h2")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator("#upload")).to_be_hidden()
    expect(page.locator("#printed")).to_be_visible()
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


@needs(ISIC2019_ORIGINAL)
def test_a_real_lesion_gets_an_answer(browser: Browser, start_server: StartServer) -> None:
    page = browser.new_page()
    page.goto(start_server())  # with the embedded model as it is
    send(page, list_photos(ISIC2019_ORIGINAL)[1])
    expect(page.locator(".answer h2")).to_have_text(ANSWER)
    send(page, Path(skimage.__file__).with_name("data") / "chelsea.png")  # a cat
    expect(page.locator(".answer h2").last).to_have_text("This photo cannot be judged")
    expect(page.locator("#result")).to_contain_text("does not look like a close-up")
    page.close()
