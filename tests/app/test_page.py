"""The page in a real browser against a real server."""

import base64
import os
import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The browser notes each request that failed: a refused photo, and a connection that a test cut.
MEANT = re.compile(r"Failed to load resource: .*(status of 4(00|15)|ERR_FAILED)")
ANSWER = re.compile("Suspicious for|No sign of")


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"none of {', '.join(BROWSERS)} is installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """Open the page; the test fails if it asked another host or the browser complained."""
    contexts, requests, complaints = [], [], []

    def open_(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith((server, "data:", "blob:"))] == []
    assert [text for text in complaints if not MEANT.match(text)] == []


@pytest.fixture
def photo_file(photo, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo)
    return path


def send(page, *files):
    page.locator("#photos").set_input_files(list(files))
    page.get_by_role("button", name="Analyse").click()


def expect_answer(page, post, photo):
    """The same as the API: label, probability to the digits shown, picture and overlay."""
    (image,) = post(photo).json["images"]
    answer = page.locator("#result .answer")
    expect(answer).to_have_attribute("data-label", image["label"])
    shown = float(answer.get_attribute("data-probability"))
    assert shown == pytest.approx(image["probability"], abs=1e-6)
    expect(page.locator("#result h2").first).to_have_text(ANSWER)
    expect(answer.locator(".score")).to_contain_text("%")
    expect(answer.get_by_role("img", name="threshold")).to_be_visible()
    expect(answer.get_by_alt_text("The part of your photo that the model saw")).to_be_visible()
    expect(answer.locator("img.heatmap")).to_have_count(1)
    expect(page.locator("#result")).to_contain_text("This is not a diagnosis")
    expect(page.locator("#result").get_by_role("link", name="version")).to_be_visible()


def test_a_chosen_photo_is_previewed_and_answered(open_page, photo_file, photo, post):
    page = open_page()
    page.locator("#photos").set_input_files(photo_file)
    expect(page.get_by_alt_text("photo.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)
    expect(page.locator("#result")).to_be_focused()
    expect(page.locator("#previews li")).to_have_count(0)


def test_a_dropped_photo_is_answered(open_page, photo, post):
    page = open_page()
    transfer = page.evaluate_handle(
        """encoded => {
            const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.jpg", {type: "image/jpeg"}));
            return transfer;
        }""",
        base64.b64encode(photo).decode(),
    )
    page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.get_by_alt_text("dropped.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_a_phone_offers_its_camera(open_page, photo_file, photo, post):
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    expect(page.get_by_text("Take a photo")).to_be_visible()
    page.locator("#camera").set_input_files(photo_file)
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_the_heatmap_can_be_switched_off(open_page, photo_file):
    page = open_page()
    send(page, photo_file)
    heatmap = page.locator("img.heatmap")
    expect(heatmap).to_have_css("opacity", "1")
    page.get_by_label("Show what the score is based on").uncheck()
    expect(heatmap).to_have_css("opacity", "0")


def test_several_photos_are_answered_together(open_page, photo_file, small_photo, tmp_path):
    small = tmp_path / "small.jpg"
    small.write_bytes(small_photo)
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, photo_file, small, text)
    headings = page.locator("#result h2")
    expect(headings.nth(0)).to_have_text(re.compile(f"Photo 1: ({ANSWER.pattern})"))
    expect(headings.nth(1)).to_have_text("Photo 2: This photo cannot be judged")
    expect(headings.nth(2)).to_have_text("Photo 3: Not a photo we can read")


def test_a_bad_file_shows_why_and_keeps_the_choice(open_page, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")
    expect(page.locator("#previews")).to_contain_text("text.jpg")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#previews li")).to_have_count(0)


def test_a_photo_without_preview_can_be_sent_all_the_same(open_page, tmp_path):
    heic = tmp_path / "photo.heic"
    heic.write_bytes(b"no browser shows this")
    page = open_page()
    page.locator("#photos").set_input_files(heic)
    expect(page.locator("#previews")).to_contain_text("No preview here, but it can be analysed.")


def test_too_large_a_choice_is_told_before_it_is_sent(open_page, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21_000_000))
    page = open_page()
    send(page, large)
    expect(page.get_by_role("status")).to_contain_text("21 MB, at most 20 MB")


def test_nothing_chosen_is_told(open_page):
    page = open_page()
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("status")).to_have_text("Choose a photo first.")


def test_a_lost_connection_is_told(open_page, photo_file):
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    send(page, photo_file)
    expect(page.get_by_role("status")).to_contain_text("The answer did not arrive")
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()


def test_without_javascript_the_same_answer_comes(open_page, photo_file, photo, post):
    page = open_page(java_script_enabled=False)
    send(page, photo_file)
    expect_answer(page, post, photo)
    page.get_by_role("link", name="version").click()
    expect(page.get_by_role("heading", name="About the model")).to_be_visible()


def test_without_javascript_a_bad_file_shows_why(open_page, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page(java_script_enabled=False)
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")


def test_the_keyboard_is_enough(open_page, photo_file, photo, post):
    page = open_page()
    page.locator("#photos").focus()
    page.locator("#photos").set_input_files(photo_file)
    expect(page.get_by_role("button", name="Analyse")).to_be_focused()
    page.keyboard.press("Enter")
    expect_answer(page, post, photo)


@pytest.mark.parametrize("path", ["/", "/model"])
def test_a_page_of_320_px_does_not_scroll_sideways(open_page, server, photo_file, path):
    page = open_page(viewport={"width": 320, "height": 600})
    page.goto(server + path)
    if path == "/":
        send(page, photo_file)
        expect(page.locator("#result h2").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
